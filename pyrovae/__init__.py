"""Variational autoencoders as Pyro model/guide pairs.

>>> import pyrovae, torch
>>> digits = pyrovae.load_images("digits")
>>> vae = pyrovae.VAE(digits.image_shape, latent_dim=2)
>>> history = pyrovae.Trainer(epochs=1).fit(vae, digits, progress=False)
>>> vae.posterior(torch.rand(5, 1, 8, 8)).mean.shape
torch.Size([5, 2])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyrovae.data import ImageSet, load_images, pack
    from pyrovae.engine import SVI
    from pyrovae.engine.posterior import check, guide_draws, nuts, predictive
    from pyrovae.models import CVAE, VAE, Autoencoder, LatentVariableModel
    from pyrovae.objectives import FreeBits, ImportanceWeighted, Renyi, TraceELBO, TraceMeanField
    from pyrovae.runs import load, run_info
    from pyrovae.semi_supervised import SemiSupervisedVAE
    from pyrovae.shapes import Shapes
    from pyrovae.training import History, RunFolder, Trainer

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
    "SemiSupervisedVAE",
    "Shapes",
    "TraceELBO",
    "TraceMeanField",
    "Trainer",
    "check",
    "guide_draws",
    "load",
    "load_images",
    "nuts",
    "pack",
    "predictive",
    "run_info",
]

_HOMES = {
    **dict.fromkeys(("ImageSet", "load_images", "pack"), "pyrovae.data"),
    **dict.fromkeys(("SVI",), "pyrovae.engine"),
    **dict.fromkeys(("check", "guide_draws", "nuts", "predictive"), "pyrovae.engine.posterior"),
    **dict.fromkeys(("CVAE", "VAE", "Autoencoder", "LatentVariableModel"), "pyrovae.models"),
    **dict.fromkeys(("FreeBits", "ImportanceWeighted", "Renyi", "TraceELBO", "TraceMeanField"), "pyrovae.objectives"),
    **dict.fromkeys(("load", "run_info"), "pyrovae.runs"),
    **dict.fromkeys(("SemiSupervisedVAE",), "pyrovae.semi_supervised"),
    **dict.fromkeys(("Shapes",), "pyrovae.shapes"),
    **dict.fromkeys(("History", "RunFolder", "Trainer"), "pyrovae.training"),
}


def __getattr__(name: str) -> Any:
    # torch and Pyro take seconds. A command is to answer Ctrl-C in them too, and so begins before they are imported.
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    try:
        return import_module(f"{__name__}.{name}")  # a package that nobody has imported yet
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
