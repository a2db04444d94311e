"""What all tests share: a tiny set of images, and where real MNIST is."""

import os
import signal
from pathlib import Path

import pyro
import pytest
import torch

from pyrovae.data import ImageSet, load_images

# Ignored under nohup and in a script's background, and then ignored by the commands that tests start.
for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    """The embedded digits, 8x8."""
    return load_images("digits")


@pytest.fixture(scope="session")
def few_digits(digits: ImageSet) -> ImageSet:
    """Three hundred of them, so that an epoch is a few steps."""
    return ImageSet.from_arrays(digits.images[:300], digits.labels[:300], name="few", validation=50)


@pytest.fixture(scope="session")
def mnist() -> ImageSet:
    """Real MNIST, where $PYROVAE_DATA points to it."""
    root = os.environ.get("PYROVAE_DATA")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("real MNIST is not at hand: PYROVAE_DATA names no folder that holds MNIST/raw")
    return load_images("mnist", root, download=False)


@pytest.fixture(autouse=True)
def _nothing_global_is_touched() -> object:
    """Pyro's parameter store is empty after every test, and the random numbers of one are not another's."""
    torch.manual_seed(0)
    yield
    left = list(pyro.get_param_store())
    pyro.clear_param_store()
    assert not left, f"parameters left in Pyro's global store: {left}"
