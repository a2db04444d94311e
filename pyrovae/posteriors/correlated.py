"""Posteriors whose dimensions are dependent given the image."""

from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import DiagNormalMixture, flow, flow_transform
from pyrovae.posteriors.base import NormalFamily, _Headed, precision_growth
from pyrovae.shapes import MOST, Shapes, check_choice, check_count, is_whole


class FullNormal(NormalFamily):
    """A Normal with any covariance, q(z | x) = N(z; loc(x), L(x) L(x)^T), L lower triangular.

    The encoder outputs the Cholesky factor L, with the logarithm of its diagonal.

    References:
        D. P. Kingma and M. Welling, An Introduction to Variational Autoencoders (2019), arXiv:1906.02691,
        section 2.5.1.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, shapes: Shapes, encoder: nn.Module) -> None:
        n = shapes.latent_dim
        super().__init__(encoder, n + n * (n + 1) // 2)
        self.latent_dim = n
        rows, columns = torch.tril_indices(n, n, -1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def of(self, outputs: Tensor) -> dist.TorchDistribution:
        """A Normal with a full covariance."""
        loc, scale_tril = self._location_and_factor(outputs)
        return dist.MultivariateNormal(loc, scale_tril=scale_tril)

    def draws(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """Location plus L times noise."""
        loc, scale_tril = self._location_and_factor(outputs)
        return loc + _times(scale_tril, noise)

    def ascend(self, outputs: Tensor, slope: Tensor, rate: Tensor) -> Tensor:
        """A step of natural-gradient ascent, to first order in the correlations."""
        n, (loc, tril) = self.latent_dim, self._location_and_factor(outputs)
        loc_slope, diagonal_slope, below_slope = slope.split([n, n, n * (n - 1) // 2], -1)
        gradient = self._lower(diagonal_slope / tril.diagonal(dim1=-2, dim2=-1), below_slope)
        # In the coordinates in which the posterior is N(0, I): I minus the curvature, as its lower triangle.
        change = (tril.mT @ gradient).tril()
        growth = precision_growth(change.diagonal(dim1=-2, dim2=-1), rate).sqrt()
        correlation = rate.unsqueeze(-1) * change / (growth.unsqueeze(-1) * growth.unsqueeze(-2))
        step = torch.eye(n, dtype=tril.dtype, device=tril.device) + correlation.clamp(-1, 1).tril(-1)
        tril = tril @ (step / growth.unsqueeze(-1))
        loc = loc + rate * _times(tril, _times(tril.mT, loc_slope))
        log_diagonal = tril.diagonal(dim1=-2, dim2=-1).log()
        return torch.cat([loc, log_diagonal, tril[..., self.rows, self.columns]], -1)

    def _location_and_factor(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Location and Cholesky factor."""
        n = self.latent_dim
        loc, log_diagonal, below = outputs.split([n, n, n * (n - 1) // 2], -1)
        return loc, self._lower(log_diagonal.exp(), below)

    def _lower(self, diagonal: Tensor, below: Tensor) -> Tensor:
        """A lower triangular matrix from its diagonal and what is below it, row by row."""
        lower = torch.diag_embed(diagonal)
        lower[..., self.rows, self.columns] = below
        return lower


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Products of matrices, (..., n, n), and vectors, (..., n)."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


class LowRankNormal(_Headed):
    """A Normal with a covariance of low rank plus a diagonal, q(z | x) = N(z; loc(x), W(x) W(x)^T + diag scale(x)^2).

    References:
        D. J. Rezende, S. Mohamed and D. Wierstra, Stochastic Backpropagation and Approximate Inference in Deep
        Generative Models (2014), arXiv:1401.4082, where the inverse covariance has rank 1 plus a diagonal.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
        rank: Columns of W, from 1 to latent_dim.

    Raises:
        ValueError: If the rank is out of range.
    """

    def __init__(self, shapes: Shapes, encoder: nn.Module, rank: int = 1) -> None:
        n = shapes.latent_dim
        if not is_whole(rank, 1, n):
            raise ValueError(f"rank must be a whole number from 1 to latent_dim, {n}, got {rank!r}")
        super().__init__(encoder, (2 + rank) * n)
        self.latent_dim, self.rank = n, rank

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The posterior of each image: batch_shape (B,), event_shape (latent_dim,)."""
        n = self.latent_dim
        loc, log_scale, factor = self.outputs(x, y).split([n, n, n * self.rank], -1)
        return dist.LowRankMultivariateNormal(loc, factor.unflatten(-1, (n, self.rank)), (2 * log_scale).exp())


Kind = Literal["iaf", "nsf", "realnvp"]


class Flow(_Headed):
    """A diagonal Normal under transforms that depend on the image: z = f(u; x), u ~ N(loc(x), diag scale(x)^2).

    q(z | x) = N(u) |det df/du|^-1, where f is a chain of zuko's transforms that get `context` numbers of the image. Its
    mean is an average over 256 fixed points.

    References:
        D. P. Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow (2016),
        arXiv:1606.04934; C. Durkan et al., Neural Spline Flows (2019), arXiv:1906.04032; L. Dinh et al., Density
        estimation using Real NVP (2017), arXiv:1605.08803.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
        kind: iaf (affine, autoregressive), nsf (the same with rational-quadratic splines on [-5, 5]) or realnvp
            (affine coupling). A draw of the first two takes one pass, the density of a given code latent_dim passes.
        transforms: Number of transforms in the chain.
        hidden: Units of the hidden layers of each transform's network.
        context: Number of features of the image that the transforms get.

    Raises:
        ValueError: If there is no such kind, or transforms or context is below 1.
    """

    def __init__(
        self,
        shapes: Shapes,
        encoder: nn.Module,
        kind: Kind = "iaf",
        transforms: int = 2,
        hidden: Sequence[int] = (64, 64),
        context: int = 32,
    ) -> None:
        check_choice("kind", kind, Kind)
        check_count("context", context, "the transforms must see the image")
        super().__init__(encoder, 2 * shapes.latent_dim + context)
        self.sizes = [shapes.latent_dim, shapes.latent_dim, context]
        self.transform = flow_transform(
            shapes.latent_dim,
            context,
            transforms=transforms,
            hidden=hidden,
            coupling=kind == "realnvp",
            spline=kind == "nsf",
            fast_draws=True,
        )

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The posterior of each image: batch_shape (B,), event_shape (latent_dim,)."""
        loc, log_scale, context = self.outputs(x, y).split(self.sizes, -1)
        return flow(self.transform(context), dist.Normal(loc, log_scale.exp()).to_event(1))


class Mixture(_Headed):
    """A mixture of diagonal Normals, q(z | x) = sum_k weight_k(x) N(z; loc_k(x), diag scale_k(x)^2).

    Its draws are differentiable, also with respect to the weights: the gradients are implicit derivatives of the
    distribution function, without relaxation or bias.

    References:
        A. Graves, Stochastic Backpropagation through Mixture Density Distributions (2016), arXiv:1607.05690;
        M. Figurnov, S. Mohamed and A. Mnih, Implicit Reparameterization Gradients (2018), arXiv:1805.08498.

    Args:
        shapes: Sizes of the model.
        encoder: Module from images and labels to features, (B, encoder.out_features).
        components: Number of components, K.

    Raises:
        ValueError: If there are fewer than two components.
    """

    def __init__(self, shapes: Shapes, encoder: nn.Module, components: int = 3) -> None:
        if not is_whole(components, 2, MOST):
            raise ValueError(
                f"components must be a whole number of at least 2, got {components!r}: one is a DiagonalNormal"
            )
        super().__init__(encoder, components * (1 + 2 * shapes.latent_dim))
        self.components = components

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """The posterior of each image: batch_shape (B,), event_shape (latent_dim,)."""
        outputs = self.outputs(x, y).unflatten(-1, (self.components, -1))
        loc, log_scale = outputs[..., 1:].chunk(2, -1)
        components = dist.Normal(loc, log_scale.exp()).to_event(1)
        return DiagNormalMixture(dist.Categorical(logits=outputs[..., 0]), components)
