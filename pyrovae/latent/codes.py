"""The codes of images: each image's posterior mean and its label."""

from dataclasses import dataclass

import numpy as np
import torch

from pyrovae.data.images import Split
from pyrovae.data.pixels import to_unit
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen


@dataclass(frozen=True)
class Codes:
    """Posterior means of images.

    Attributes:
        means: E_q[z | x] of each image, (images, latent_dim).
        labels: Class of each image, (images,).
    """

    means: np.ndarray
    labels: np.ndarray


def encode(model: LatentVariableModel, split: Split, *, batch_size: int = 1000) -> Codes:
    """Encode images to their posterior means.

    Args:
        model: The model whose posterior encodes.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split` where the model
            was trained on binary pixels.
        batch_size: Images at a time.
    """
    means = []
    with frozen(model) as device:
        for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True):
            q = model.posterior(to_unit(images.to(device)), labels.to(device))
            means.append(q.mean.cpu())
    return Codes(torch.cat(means).numpy(), split.labels.numpy())
