"""Priors that are mixtures: of learned Normals, or of the posteriors of learned pseudo-inputs.

A component is a distribution of the whole code: the mixture is over codes, not over single dimensions.
"""

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.contracts import Posterior, Prior, name_of
from pyrovae.distributions import MixtureOfVectors
from pyrovae.networks import checked_labels, rows_of_labels
from pyrovae.shapes import MOST, Shapes, check_count, is_whole


class GaussianMixture(Prior):
    """A learned mixture of diagonal Normals, p(z) = sum_k weight_k N(z; loc_k, diag scale_k^2).

    With `labels`, component k is class k: p(z | y) is the component of the label, and without a label p(z) is the
    mixture with equal weights. This works in a VAE too, whose encoder and decoder do not use labels.

    References:
        N. Dilokthanakul et al., Deep Unsupervised Clustering with Gaussian Mixture VAEs (2016), arXiv:1611.02648;
        Z. Jiang et al., Variational Deep Embedding (2017), arXiv:1611.05148.

    Args:
        shapes: Sizes of the model.
        components: Number of components, K.
        labels: Whether the components are the classes. Then K must be the number of classes.
        init_scale: Standard deviation of the components' initial locations.

    Raises:
        ValueError: If there is no component, K is not the number of classes with `labels`, or the scale is negative.
    """

    logits: Tensor

    def __init__(self, shapes: Shapes, components: int = 10, labels: bool = False, init_scale: float = 1.0) -> None:
        super().__init__()
        check_count("components", components)
        if not 0 <= init_scale < math.inf:
            raise ValueError(f"init_scale of a GaussianMixture must be at least 0, got {init_scale}")
        self.labels, self.components = labels, components
        if shapes.num_classes:
            self.check_classes(shapes.num_classes)
        self.loc = nn.Parameter(init_scale * torch.randn(components, shapes.latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(components, shapes.latent_dim))
        if labels:  # the classes' shares say nothing about p(z | y), so there is nothing to learn them from
            self.register_buffer("logits", torch.zeros(components), persistent=False)
        else:
            self.logits = nn.Parameter(torch.zeros(components))

    def check_classes(self, num_classes: int) -> None:
        """Refuse images of another number of classes than components, where the components are the classes.

        Raises:
            ValueError: If they do not fit.
        """
        if self.labels and self.components != num_classes:
            raise ValueError(
                f"with labels as components there must be as many components as classes, got {self.components} "
                f"and {num_classes}: give components={num_classes}, or labels=False"
            )

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The prior: batch_shape (), or (B,) with labels; event_shape (latent_dim,)."""
        if self.labels and y is not None:
            y = checked_labels(y, self.components)
            return dist.Normal(rows_of_labels(self.loc, y), rows_of_labels(self.log_scale, y).exp()).to_event(1)
        components = dist.Normal(self.loc, self.log_scale.exp()).to_event(1)
        return MixtureOfVectors(dist.Categorical(logits=self.logits), components)


class VampPrior(Prior):
    """The variational mixture of posteriors, p(z) = 1/K sum_k q(z | u_k), with learned pseudo-inputs u_k.

    It is made of the model's own posterior, whatever that is, so encoder and prior are trained together. In a model
    with labels the pseudo-inputs are dealt out to the classes in turn, and p(z | y) is the mixture of those of y.

    References:
        J. Tomczak and M. Welling, VAE with a VampPrior (2018), arXiv:1705.07120; there K = 500.

    Args:
        shapes: Sizes of the model.
        components: Number of pseudo-inputs, K; each is encoded at every step.

    Raises:
        ValueError: If there are no pseudo-inputs, or fewer than classes.
    """

    def __init__(self, shapes: Shapes, components: int = 100) -> None:
        super().__init__()
        if not is_whole(components, max(1, shapes.num_classes), MOST):
            least = max(1, shapes.num_classes)
            raise ValueError(f"components must be a whole number of at least {least}, got {components!r}")
        self.num_classes = shapes.num_classes
        self.pseudo_inputs = nn.Parameter(torch.rand(components, *shapes.image_shape))
        labels = torch.arange(components) % max(1, shapes.num_classes)
        self.register_buffer("labels", labels, persistent=False)
        # In a tuple, so that the posterior's weights are the model's and not saved twice as the prior's.
        self._posterior: tuple[nn.Module, ...] = ()

    labels: Tensor

    def attach(self, posterior: Posterior) -> None:
        """Make the mixture of this posterior; the model calls it once, with its own.

        Raises:
            NotApplicable: If the posterior has no density to mix.
        """
        posterior.need_density(f"a VampPrior mixes densities, and the posterior {name_of(posterior)} has none")
        self._posterior = (posterior,)
        self.periodic = posterior.periodic

    @torch.no_grad()
    def start_from(self, images: Tensor, labels: Tensor | None = None) -> None:
        """Start the pseudo-inputs at images of the training set, evenly spaced over it and each of its own class.

        Args:
            images: Training images x, (N, C, H, W); fewer than there are pseudo-inputs are taken more than once.
            labels: Their classes, (N,); needed by a model with labels.

        Raises:
            ValueError: If labels are missing or a class has no image.
        """
        classes = torch.zeros(len(images), dtype=torch.int64)
        if self.num_classes:
            classes = checked_labels(labels, self.num_classes)
        for value in self.labels.unique().tolist():
            mine = (self.labels == value).nonzero().flatten()
            found = (classes.to("cpu") == value).nonzero().flatten()
            if not len(found):
                raise ValueError(f"there is no image of class {value} to start the VampPrior's pseudo-inputs from")
            chosen = found[torch.linspace(0, len(found) - 1, len(mine)).long()]
            self.pseudo_inputs[mine] = images[chosen.to(images.device)].to(self.pseudo_inputs)

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """The prior: batch_shape (), or (B,) in a model with labels; event_shape (latent_dim,)."""
        if not self._posterior:
            raise ValueError("a VampPrior has no posterior yet: build it with a model, or call attach(posterior)")
        (posterior,) = self._posterior
        logits = torch.zeros_like(self.labels, dtype=self.pseudo_inputs.dtype)
        if not self.num_classes:
            return MixtureOfVectors(dist.Categorical(logits=logits), posterior(self.pseudo_inputs))
        y = checked_labels(y, self.num_classes)
        components = posterior(self.pseudo_inputs, self.labels)
        # Others' components get no weight; a mixture of the own ones alone would need a distribution to be indexed.
        logits = torch.where(self.labels == y.unsqueeze(-1), logits, -torch.inf)
        return MixtureOfVectors(dist.Categorical(logits=logits), components.expand(logits.shape))
