"""A prior that is a normalising flow."""

from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.contracts import Prior
from pyrovae.distributions import flow, flow_transform
from pyrovae.networks import one_hot_labels
from pyrovae.priors.base import by_label
from pyrovae.shapes import Shapes, check_choice

Kind = Literal["realnvp", "maf", "nsf"]


class Flow(Prior):
    """A normalising flow, p(z) = N(f(z); 0, I) |det df/dz|, where f is a chain of zuko's transforms.

    References:
        L. Dinh et al., Density estimation using Real NVP (2017), arXiv:1605.08803; G. Papamakarios et al., Masked
        Autoregressive Flow (2017), arXiv:1705.07057; C. Durkan et al., Neural Spline Flows (2019), arXiv:1906.04032;
        X. Chen et al., Variational Lossy Autoencoder (2017), arXiv:1611.02731, for the flow as a prior.

    Args:
        shapes: Sizes of the model.
        kind: realnvp (affine coupling), maf (affine, autoregressive: a draw takes latent_dim passes) or nsf (the same
            with rational-quadratic splines on [-5, 5]).
        transforms: Number of transforms in the chain.
        hidden: Units of the hidden layers of each transform's network.
        per_class: Whether the flow depends on the label: a learned p(z | y).

    Raises:
        ValueError: If there is no such kind, there are no transforms, or `per_class` is set in a model without labels.
    """

    loc: Tensor
    scale: Tensor

    def __init__(
        self,
        shapes: Shapes,
        kind: Kind = "realnvp",
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
        per_class: bool = False,
    ) -> None:
        super().__init__()
        check_choice("kind", kind, Kind)
        self.num_classes = by_label(shapes, "a Flow prior") if per_class else 0
        self.transform = flow_transform(
            shapes.latent_dim,
            self.num_classes,
            transforms=transforms,
            hidden=hidden,
            coupling=kind == "realnvp",
            spline=kind == "nsf",
        )
        self.register_buffer("loc", torch.zeros(shapes.latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(shapes.latent_dim), persistent=False)

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The prior: batch_shape (), or (B,) if it depends on labels; event_shape (latent_dim,)."""
        base = dist.Normal(self.loc, self.scale).to_event(1)
        if not self.num_classes:
            return flow(self.transform(None), base)
        context = one_hot_labels(y, self.num_classes).to(self.loc)
        return flow(self.transform(context), base.expand(context.shape[:-1]))
