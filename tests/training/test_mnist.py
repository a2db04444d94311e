"""Real MNIST, where it is at hand: the bound after two epochs, and the memory that training takes."""

import os
import subprocess
import sys

import pytest

from pyrovae import VAE, Trainer
from pyrovae.data import ImageSet, fixed_split
from pyrovae.inference.elbo import estimate_elbo
from pyrovae.likelihoods import CrossEntropy

MEASURE = """
import resource, sys
import torch, pyro
from torch import nn

def network():
    return nn.Sequential(*(nn.Linear(*sizes) for sizes in ((784, 256), (256, 4), (2, 256), (256, 784))))

if sys.argv[1] == "train":
    import pyrovae
    data = pyrovae.load_images("mnist", download=False)
    pyrovae.Trainer(epochs=1, engine="graph").fit(pyrovae.VAE(data.image_shape, 2), data, progress=False)
else:
    network()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.mnist
@pytest.mark.slow
def test_two_epochs_reach_the_bound_that_they_should(mnist: ImageSet) -> None:
    """Plain PyTorch is at about 163 nats then; the full table is in benchmarks/mnist_bounds.py."""
    model = VAE(mnist.image_shape, 2, likelihood=CrossEntropy)
    Trainer(epochs=2, pixels="none", engine="graph").fit(model, mnist, progress=False)
    test = estimate_elbo(model, fixed_split(mnist.split("test"), "none"))
    assert 155 < test.negative_elbo.value < 170
    assert test.score == "cross-entropy"


@pytest.mark.mnist
@pytest.mark.slow
def test_training_takes_little_memory(mnist: ImageSet) -> None:
    """At most 300 MB above a bare import of torch and Pyro with the same network."""

    def peak(what: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, what], capture_output=True, text=True, check=True, env=dict(os.environ)
        )
        return float(done.stdout.split()[-1])

    assert peak("train") - peak("bare") < 300
