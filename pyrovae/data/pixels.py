"""From grey values, kept as uint8, to the pixels x in [0, 1] that a model sees: the binarisation policy.

A Bernoulli likelihood is a probability of pixels that are 0 or 1. Grey images are made so by one of four
policies, and figures are comparable only between runs with the same one:

* ``dynamic``: each pixel is 1 with its grey value as the probability, drawn anew for each batch [2]. The
  noise also regularises, so a model trained this way scores better than one trained on ``fixed`` pixels.
* ``fixed``: the same draw [1], made once, by a seed; every epoch sees the same pixels, as with the file of
  [3].
* ``threshold``: 1 where the grey value is above one half. Nothing is drawn.
* ``none``: grey values as they are. Under a Bernoulli likelihood their score is a cross-entropy and no
  likelihood.

Left open (``auto``), the policy is ``dynamic`` for drawings, such as MNIST: grey images of which at least a third of
the pixels are nearly black or nearly white. It is ``none`` for photographs: images whose channels differ, or that are
mostly of middling greys. Drawing those black or white, channel by channel, would destroy them without a word.

Test pixels are drawn once under ``dynamic`` too, so that two evaluations see the same images: ``fix_pixels``.

References:
    [1] Salakhutdinov and Murray, "On the quantitative analysis of deep belief networks", ICML 2008.
    [2] Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", arXiv:1509.00519, 2015 (appendix
        D).
    [3] Larochelle and Murray, "The neural autoregressive distribution estimator", AISTATS 2011.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from pyrovae.data.scratch import scratch_like
from pyrovae.shapes import WrongTypeError, is_whole

PixelPolicy = Literal["dynamic", "fixed", "threshold", "none"]
PIXEL_POLICIES: tuple[PixelPolicy, ...] = get_args(PixelPolicy)
PixelChoice = Literal["auto", "dynamic", "fixed", "threshold", "none"]
"""A policy, or the one that suits the images."""

EXTREME = 25
"""Grey values so near to black (0) or to white (255) count as these."""
DRAWING_SHARE = 1 / 3
"""Share of such pixels from which grey images are drawings; MNIST has 0.91, scikit-learn's digits 0.65."""

# Pixels drawn at a time by `fix_pixels`, 16 MB as float32. The numbers drawn depend on it, so it stays as it is.
_CHUNK_PIXELS = 1 << 22


def choose_policy(images: Tensor, choice: PixelChoice = "auto") -> PixelPolicy:
    """The policy that suits images, where none was chosen; "none" for values that are no grey levels.

    Args:
        images: Grey values 0 to 255, uint8, (N, C, H, W), or values, float32.
        choice: What was chosen.

    Raises:
        ValueError: If there is no such policy.
    """
    if choice != "auto":
        _check_policy(choice)
    if images.is_floating_point():
        return "none"
    if choice != "auto":
        return choice
    return "none" if has_colour(images) or extreme_share(images) < DRAWING_SHARE else "dynamic"


def has_colour(images: Tensor) -> bool:
    """Whether the channels of any image differ."""
    return bool((images != images[:, :1]).any())


def extreme_share(images: Tensor) -> float:
    """Share of the pixels that are nearly black or nearly white."""
    return float(((images <= EXTREME) | (images >= 255 - EXTREME)).float().mean())


def to_unit(images: Tensor) -> Tensor:
    """Scales grey values to [0, 1]; the values of a set that has them, float32, are x already.

    Args:
        images: Grey values 0 to 255, uint8, any shape, or values, float32.

    Returns:
        ``images / 255``, or the values themselves: float32, same shape and device.

    Raises:
        ValueError: If ``images`` is neither uint8 nor float32.
    """
    if not isinstance(images, Tensor):
        raise WrongTypeError(f"images must be a uint8 tensor of grey values 0 to 255, got {type(images).__name__}")
    if images.dtype == torch.float32:
        return images
    _check_grey(images)
    return images.to(torch.float32) / 255


def pixels(images: Tensor, policy: PixelPolicy) -> Tensor:
    """Makes the pixels x of one batch, on the device of the images.

    Under ``dynamic`` they are drawn from torch's global generator of that device. Under ``fixed`` the images
    must have been through ``fix_pixels`` before. Nothing here depends on the values, so the call can be
    traced into a graph.

    Args:
        images: Grey values 0 to 255, uint8, (B, C, H, W).
        policy: One of ``PIXEL_POLICIES``.

    Returns:
        Pixels x in [0, 1], float32, (B, C, H, W); 0 or 1 unless the policy is ``none``.

    Raises:
        ValueError: If there is no such policy, or ``images`` is not uint8.
    """
    _check_policy(policy)
    _check_grey(images)
    x = to_unit(images)
    if policy == "dynamic":
        # rand_like lies in [0, 1), so black stays black and white stays white.
        return (torch.rand_like(x) < x).to(x.dtype)
    if policy == "threshold":
        return (x > 0.5).to(x.dtype)
    return x


def fix_pixels(images: Tensor, policy: PixelPolicy, seed: int = 0) -> Tensor:
    """Binarises images once and for all, for training under ``fixed`` and for evaluation under any policy.

    The result needs no further draw: ``to_unit`` of it are the pixels x. The draw is made on the CPU by a
    generator of its own, so it is the same on every device and leaves the global generators as they were.

    Args:
        images: Grey values 0 to 255, uint8, (N, C, H, W).
        policy: One of ``PIXEL_POLICIES``. ``dynamic`` and ``fixed`` draw, ``threshold`` cuts at one half,
            ``none`` returns ``images`` itself.
        seed: Seed of the draw.

    Returns:
        Grey values 0 or 255 (any under ``none``), uint8, (N, C, H, W), on the device of ``images``. More than 128 MiB
        of them lie in a temporary file.

    Raises:
        ValueError: If there is no such policy, or ``images`` is not uint8.
    """
    _check_policy(policy)
    if not isinstance(images, Tensor):
        raise WrongTypeError(f"images must be a uint8 tensor of grey values 0 to 255, got {type(images).__name__}")
    if not is_whole(seed, 0):
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    if policy == "none":
        return images
    _check_grey(images)
    generator = torch.Generator().manual_seed(seed)
    fixed = scratch_like(images)
    count = max(1, _CHUNK_PIXELS // images[0].numel()) if len(images) else 1
    for grey, out in zip(images.split(count), fixed.split(count), strict=True):
        probability = to_unit(grey).cpu()
        level = 0.5 if policy == "threshold" else torch.rand(probability.shape, generator=generator)
        out.copy_((probability > level).to(torch.uint8) * 255)
    return fixed


def is_black_and_white(images: Tensor) -> bool:
    """Whether all pixels x are 0 or 1."""
    return bool(((images == 0) | (images == (1 if images.is_floating_point() else 255))).all())


def _check_grey(images: Tensor) -> None:
    if images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8 with grey values 0 to 255, got {images.dtype}")


def _check_policy(policy: str) -> None:
    if policy not in PIXEL_POLICIES:
        raise ValueError(f"pixels must be one of {', '.join(PIXEL_POLICIES)}, got {policy!r}")
