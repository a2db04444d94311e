"""Variational autoencoders as Pyro model/guide pairs.

>>> import pyrovae
>>> digits = pyrovae.load_images("digits")
>>> vae = pyrovae.VAE(digits.image_shape, latent_dim=2)
>>> history = pyrovae.Trainer(epochs=1).fit(vae, digits, progress=False)
>>> vae.posterior(torch.rand(5, 1, 8, 8)).mean.shape
torch.Size([5, 2])
"""

from pyrovae.data import ImageSet, load_images
from pyrovae.engine import SVI
from pyrovae.models import CVAE, VAE, Autoencoder, LatentVariableModel
from pyrovae.objectives import FreeBits, ImportanceWeighted, Renyi, TraceELBO, TraceMeanField
from pyrovae.runs.config_file import run_info
from pyrovae.runs.loading import load
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
    "Shapes",
    "TraceELBO",
    "TraceMeanField",
    "Trainer",
    "load",
    "load_images",
    "run_info",
]
