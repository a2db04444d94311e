"""Variational autoencoders as Pyro model/guide pairs.

>>> import pyrovae, torch
>>> digits = pyrovae.load_images("digits")
>>> vae = pyrovae.VAE(digits.image_shape, latent_dim=2)
>>> history = pyrovae.Trainer(epochs=1).fit(vae, digits, progress=False)
>>> vae.posterior(torch.rand(5, 1, 8, 8)).mean.shape
torch.Size([5, 2])
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import exported

if TYPE_CHECKING:
    from pyrovae.data import ImageSet, load_images, pack
    from pyrovae.engine import SVI
    from pyrovae.engine.posterior import check, guide_draws, nuts, predictive
    from pyrovae.explorer import explore
    from pyrovae.hierarchical import HierarchicalVAE
    from pyrovae.models import CVAE, VAE, Autoencoder, LatentVariableModel
    from pyrovae.objectives import (
        DIPVAE,
        BetaTCVAE,
        Contractive,
        FreeBits,
        ImportanceWeighted,
        InfoVAE,
        Renyi,
        Sparse,
        TraceELBO,
        TraceMeanField,
    )
    from pyrovae.runs import load, run_info
    from pyrovae.semi_supervised import SemiSupervisedVAE
    from pyrovae.shapes import Shapes
    from pyrovae.training import History, RunFolder, Trainer

__all__ = [
    "CVAE",
    "DIPVAE",
    "SVI",
    "VAE",
    "Autoencoder",
    "BetaTCVAE",
    "Contractive",
    "FreeBits",
    "HierarchicalVAE",
    "History",
    "ImageSet",
    "ImportanceWeighted",
    "InfoVAE",
    "LatentVariableModel",
    "Renyi",
    "RunFolder",
    "SemiSupervisedVAE",
    "Shapes",
    "Sparse",
    "TraceELBO",
    "TraceMeanField",
    "Trainer",
    "check",
    "explore",
    "guide_draws",
    "load",
    "load_images",
    "nuts",
    "pack",
    "predictive",
    "run_info",
]

# torch and Pyro take seconds. A command is to answer Ctrl-C in them too, and so begins before they are imported.
__getattr__, __dir__ = exported(
    __name__,
    {
        "pyrovae.data": ("ImageSet", "load_images", "pack"),
        "pyrovae.engine": ("SVI",),
        "pyrovae.engine.posterior": ("check", "guide_draws", "nuts", "predictive"),
        "pyrovae.explorer": ("explore",),
        "pyrovae.hierarchical": ("HierarchicalVAE",),
        "pyrovae.models": ("CVAE", "VAE", "Autoencoder", "LatentVariableModel"),
        "pyrovae.objectives": (
            "DIPVAE",
            "BetaTCVAE",
            "Contractive",
            "FreeBits",
            "ImportanceWeighted",
            "InfoVAE",
            "Renyi",
            "Sparse",
            "TraceELBO",
            "TraceMeanField",
        ),
        "pyrovae.runs": ("load", "run_info"),
        "pyrovae.semi_supervised": ("SemiSupervisedVAE",),
        "pyrovae.shapes": ("Shapes",),
        "pyrovae.training": ("History", "RunFolder", "Trainer"),
    },
)
