"""The contracts of a prior, a likelihood and a posterior, and the error for numbers that a model does not have.

    prior(y)        -> p(z | y)        batch_shape () or (B,), event_shape (latent_dim,)
    likelihood(z,y) -> p(x | z, y)     batch_shape (..., B), event_shape (C, H, W)
    posterior(x,y)  -> q(z | x, y)     batch_shape (B,), event_shape (latent_dim,)

A part is a subclass of one of the three classes here with a `forward`; all else has a default. A plain `nn.Module` is
accepted too: the model wraps it by `as_prior`, `as_likelihood` or `as_posterior` when it is built.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from torch import Tensor, nn
from torch.distributions import Distribution


class NotApplicable(ValueError):  # noqa: N818 - an answer as much as an error
    """A number or a method does not exist for this model or these images. The message gives the reason."""


class Prior(nn.Module, ABC):
    """p(z | y): a module that maps labels y, (B,) or None, to a distribution of codes.

    Attributes:
        periodic: Whether codes are angles, with -pi and pi the same point. The posterior must agree.
        scored: Whether its log-density is part of the loss. It is not in an autoencoder.
    """

    periodic: bool = False
    scored: bool = True

    @abstractmethod
    def forward(self, y: Tensor | None = None) -> Distribution:
        """The prior: batch_shape () or (B,), event_shape (latent_dim,)."""

    def attach(self, posterior: Posterior) -> None:
        """Receive the model's posterior, for a prior that depends on it. The model calls this once."""

    def start_from(self, images: Tensor, labels: Tensor) -> None:
        """Initialise from training images, (N, C, H, W), and labels, (N,). Called before the first training step."""

    def check_classes(self, num_classes: int) -> None:
        """Refuse image sets with a wrong number of classes. Called before a training."""


class Likelihood(nn.Module, ABC):
    """p(x | z, y): a module that maps codes and labels to a distribution of images.

    Attributes:
        score: Name of the reconstruction term in tables and on axes: "NLL" if it is minus a log-probability of the
            data, another name if it is not.
        pixels: The pixels that it can score, in words, for error messages; by default its support.
        cure: What to do about other pixels, in words.
        takes_missing: Whether NaN in an image is a missing value, which has no score.
    """

    takes_missing: bool = False
    score: ClassVar[str] = "NLL"
    pixels: ClassVar[str] = ""
    cure: ClassVar[str] = "choose another likelihood (--model.likelihood) or another policy for pixels (--pixels)"

    @abstractmethod
    def forward(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """Pixels given codes, (..., B, latent_dim): batch_shape (..., B), event_shape (C, H, W)."""

    @property
    def is_density(self) -> bool:
        """Whether it is a density of pixels. Then images can be drawn from it, and p(x) exists."""
        return self.score == "NLL"


class Posterior(nn.Module, ABC):
    """q(z | x, y): a module that maps images and labels to a distribution of codes.

    Attributes:
        has_density: Whether log q(z | x) exists. A point mass has no density, and so no ELBO.
        periodic: Whether codes are angles, with -pi and pi the same point. The prior must agree, and the decoder gets
            their cosines and sines.
    """

    has_density: bool = True
    periodic: bool = False

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """The posterior of each image: batch_shape (B,), event_shape (latent_dim,)."""

    @property
    def amortised(self) -> Posterior:
        """The posterior whose parameters are an encoder's own, of which a prior may be made; by default this one."""
        return self

    def attach(self, prior: Prior, likelihood: Likelihood) -> None:
        """Receive the model's other parts, for a posterior that depends on them. The model calls this."""

    def need_density(self, otherwise: str) -> None:
        """Refuse a point mass.

        Raises:
            NotApplicable: If it has no density, with the message `otherwise`.
        """
        if not self.has_density:
            raise NotApplicable(otherwise)


class Around(nn.Module):
    """A part around another, which has the names and the words.

    Attributes:
        module: The other.
    """

    module: nn.Module


class _Wrapped(nn.Module):
    """A plain module as a part. It forwards calls, and the names of the weights are those of the module."""

    declared: ClassVar[tuple[str, ...]]

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.register_state_dict_post_hook(_without_wrapper)
        self.register_load_state_dict_pre_hook(_with_wrapper)

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        """The wrapper, with the attributes of the contract that the module declares."""
        wrapped = cls(module)
        for name in cls.declared:
            if hasattr(module, name):
                setattr(wrapped, name, getattr(module, name))
        return wrapped

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if "module" not in self.__dict__.get("_modules", {}) or name in ("training", "forward", *self.declared):
            super().__setattr__(name, value)
        else:  # set on the wrapper it would silently have no effect
            setattr(self.module, name, value)

    def forward(self, *inputs: Tensor | None) -> Distribution:
        """What the module returns."""
        return self.module(*inputs)


class _PlainPrior(_Wrapped, Prior):
    """A plain module as a prior."""

    declared = ("periodic", "scored", "attach", "start_from", "check_classes")


class _PlainLikelihood(_Wrapped, Likelihood):
    """A plain module as a likelihood."""

    declared = ("score", "pixels", "cure", "takes_missing")
    cure: ClassVar[str] = "choose another --pixels or another --model.likelihood"


class _PlainPosterior(_Wrapped, Posterior):
    """A plain module as a posterior."""

    declared = ("has_density", "periodic", "attach")


def as_prior(module: nn.Module) -> Prior:
    """A prior unchanged, any other module wrapped."""
    return module if isinstance(module, Prior) else _PlainPrior.of(module)


def as_likelihood(module: nn.Module) -> Likelihood:
    """A likelihood unchanged, any other module wrapped."""
    return module if isinstance(module, Likelihood) else _PlainLikelihood.of(module)


def as_posterior(module: nn.Module) -> Posterior:
    """A posterior unchanged, any other module wrapped."""
    return module if isinstance(module, Posterior) else _PlainPosterior.of(module)


def name_of(part: nn.Module) -> str:
    """Class name of a part, or of the module that it wraps."""
    return type(unwrapped(part)).__name__


def unwrapped(part: nn.Module) -> nn.Module:
    """The user's module."""
    while isinstance(part, _Wrapped | Around):
        part = part.module
    return part


def _without_wrapper(wrapper: nn.Module, state: dict[str, Any], prefix: str, metadata: object) -> None:
    _rename(state, f"{prefix}module.", prefix)


def _with_wrapper(wrapper: nn.Module, state: dict[str, Any], prefix: str, *others: object) -> None:
    _rename(state, prefix, f"{prefix}module.")


def _rename(state: dict[str, Any], old: str, new: str) -> None:
    """Replace the prefix `old` by `new` in the names of a state's entries, keeping their order."""
    for name in [name for name in state if name.startswith(old)]:
        state[new + name.removeprefix(old)] = state.pop(name)
