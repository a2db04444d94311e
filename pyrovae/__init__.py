"""Variational autoencoders as Pyro model/guide pairs.

>>> import pyrovae, torch
>>> digits = pyrovae.load_images("digits")
>>> vae = pyrovae.VAE(digits.image_shape, latent_dim=2)
>>> history = pyrovae.Trainer(epochs=1).fit(vae, digits, progress=False)
>>> vae.posterior(torch.rand(5, 1, 8, 8)).mean.shape
torch.Size([5, 2])
"""

from typing import TYPE_CHECKING, Any

from pyrovae.data import ImageSet, load_images
from pyrovae.engine import SVI
from pyrovae.engine.posterior import check, guide_draws, nuts, predictive
from pyrovae.models import CVAE, VAE, Autoencoder, LatentVariableModel
from pyrovae.objectives import FreeBits, ImportanceWeighted, Renyi, TraceELBO, TraceMeanField
from pyrovae.shapes import Shapes
from pyrovae.training import History, RunFolder, Trainer

if TYPE_CHECKING:
    from pyrovae.runs import load, run_info

__all__ = [
    "CVAE",
    "SVI",
    "VAE",
    "Autoencoder",
    "FreeBits",
    "History",
    "ImageSet",
    "ImportanceWeighted",
    "LatentVariableModel",
    "Renyi",
    "RunFolder",
    "Shapes",
    "TraceELBO",
    "TraceMeanField",
    "Trainer",
    "check",
    "guide_draws",
    "load",
    "load_images",
    "nuts",
    "predictive",
    "run_info",
]


def __getattr__(name: str) -> Any:
    # Command line and plots, which runs need, take a second that a notebook may have no need of.
    if name in ("load", "run_info"):
        from pyrovae import runs

        return getattr(runs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
