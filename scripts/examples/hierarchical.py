"""A VAE with two layers of codes: a model whose Pyro programs are written anew, and nothing else.

cd scripts/examples
python ../svi_train.py --model hierarchical.TwoLayerVAE --model.latent_dim 10 --model.top_dim 2 --name two-layers
python ../evaluate.py runs/two-layers
python ../generate.py runs/two-layers
python ../latent_space.py runs/two-layers --plane lda

With this folder on PYTHONPATH the same commands work anywhere; in Python, pyrovae.load(RUN, allow_code=True).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae import VAE, likelihoods, models, networks, posteriors
from pyrovae.priors import Prior
from pyrovae.shapes import ImageShape, Shapes


class _Conditional(nn.Module):
    """N(out; loc(given), diag scale(given)^2), location and scale by a network of one layer or more."""

    def __init__(self, given: int, out: int, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = [given, *hidden]
        self.layers = nn.Sequential(*[layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())])
        self.head = nn.Linear(sizes[-1], 2 * out)

    def forward(self, given: Tensor) -> dist.TorchDistribution:
        loc, log_scale = self.head(self.layers(given)).chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)


class TopDown(Prior):
    """p(w) = N(w; 0, I), p(z | w) = N(z; loc(w), diag scale(w)^2): a prior of z with a code w above it.

    Its `forward` is p(z), for whoever looks at z alone: the average of p(z | w) over 256 fixed points w. Training,
    evaluation and samples go through the programs, which draw w, and never use it.

    Args:
        shapes: Sizes of the model.
        top_dim: Number of dimensions of w.
        hidden: Units of the hidden layers between w and z.
    """

    points: Tensor

    def __init__(self, shapes: Shapes, top_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.given_top = _Conditional(top_dim, shapes.latent_dim, hidden)
        uniform = torch.quasirandom.SobolEngine(top_dim, scramble=True, seed=0).draw(256)
        self.register_buffer("points", torch.special.ndtri(uniform.clamp(1e-4, 1 - 1e-4)), persistent=False)

    def top(self) -> dist.TorchDistribution:
        """The prior of the upper code, p(w)."""
        zero = torch.zeros_like(self.points[0])
        return dist.Normal(zero, torch.ones_like(zero)).to_event(1)

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """p(z), to some digits: batch_shape (), event_shape (latent_dim,)."""
        weights = dist.Categorical(logits=torch.zeros_like(self.points[:, 0]))
        return dist.MixtureSameFamily(weights, self.given_top(self.points))


class TwoLayerVAE(VAE):
    """p(w) p(z | w) p(x | z), with q(z | x) q(w | z) as its guide: a deep latent Gaussian model of two layers.

    References:
        D. J. Rezende, S. Mohamed and D. Wierstra, Stochastic Backpropagation and Approximate Inference in Deep
        Generative Models (2014), arXiv:1401.4082; Y. Burda, R. Grosse and R. Salakhutdinov, Importance Weighted
        Autoencoders (2016), arXiv:1509.00519, whose two-layer models these are.

    Args:
        image_shape: Channels, height and width of one image, (C, H, W).
        latent_dim: Number of dimensions of z, the code that images are decoded from and that analyses look at.
        top_dim: Number of dimensions of w, the code above it.
        top_hidden: Units of the hidden layers between the two codes.
        encoder: Network from images to features.
        decoder: Network from codes z to numbers for each pixel.
        likelihood: The distribution of an image given its code, p(x | z).
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int = 10,
        top_dim: int = 2,
        top_hidden: Sequence[int] = (64,),
        encoder: models.EncoderFactory = networks.MLPEncoder,
        decoder: models.DecoderFactory = networks.MLPDecoder,
        likelihood: models.LikelihoodFactory = likelihoods.Bernoulli,
    ) -> None:
        prior = TopDown(Shapes(image_shape, latent_dim), top_dim, top_hidden)
        super().__init__(
            image_shape, latent_dim, encoder, decoder, lambda shapes: prior, likelihood, posteriors.DiagonalNormal
        )
        self.top_posterior = _Conditional(latent_dim, top_dim, top_hidden)

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """The generative program: the upper code, the lower one given it, and an image given that."""
        prior = cast(TopDown, self.prior)
        with pyro.plate("images", len(x)):
            w = pyro.sample("w", prior.top())
            z = pyro.sample("z", prior.given_top(w))
            pyro.sample("x", self.likelihood(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """The inference program, from the image upwards."""
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", self.posterior(x, y))
            pyro.sample("w", self.top_posterior(z))
