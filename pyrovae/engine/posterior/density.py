"""The log-density of a Pyro model's continuous latents as a function of one unconstrained vector."""

from __future__ import annotations

import contextlib
import math
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.infer import config_enumerate, infer_discrete
from pyro.infer.mcmc.util import TraceEinsumEvaluator
from torch import Tensor

from pyrovae.engine.capture import untouched
from pyrovae.engine.compat import Message, Messenger, handlers_around, is_subsample
from pyrovae.engine.posterior.double import double_precision
from pyrovae.engine.posterior.errors import ModelError
from pyrovae.engine.posterior.supports import bijection_of, kind_of, moves, within_support
from pyrovae.engine.values import ValueReadError

Program = Callable[..., Any]


@dataclass(frozen=True)
class Site:
    """A named value of the model.

    Attributes:
        name: The site's name.
        shape: Shape of its value.
        event_dim: How many of the last dimensions are the event's.
        plates: Names of the plates by axis of the value.
        dtype: Type of its value in double precision.
    """

    name: str
    shape: tuple[int, ...]
    event_dim: int
    plates: Mapping[int, str]
    dtype: torch.dtype


@dataclass(frozen=True)
class Latent(Site):
    """A continuous latent and its place in the unconstrained vector.

    Attributes:
        start: Its first element there.
        free_shape: Shape of its unconstrained value.
    """

    start: int
    free_shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        """One beyond its last element in the unconstrained vector."""
        return self.start + math.prod(self.free_shape)


@dataclass
class Density:
    """A model with its arguments, seen as a density over one vector; see `density_of`.

    Attributes:
        latents: Continuous latents by name, in the order of the model.
        drawn: All latents, discrete ones too.
        deterministics: Sites of `pyro.deterministic`.
        observed: Observed sites.
        data: Observed values.
        enumerated: Names of the discrete latents, which are summed out.
        plate_nesting: How many dimensions plates take at most.
    """

    model: Program
    args: tuple
    kwargs: dict[str, Any]
    latents: dict[str, Latent]
    drawn: dict[str, Site]
    deterministics: dict[str, Site]
    observed: dict[str, Site]
    data: dict[str, Tensor]
    enumerated: list[str]
    plate_nesting: int
    _evaluator: Any = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Length of the unconstrained vector."""
        return sum(math.prod(latent.free_shape) for latent in self.latents.values())

    def log_density(self, u: Tensor) -> Tensor:
        """Log p(latents, data) + log |d latents / du| of an unconstrained vector (size,): (), float64."""
        place, trace = self._run(self._enumerated_model(), u)
        return self._log_joint(trace) + place.log_volume

    def _log_joint(self, trace: Any) -> Tensor:
        if self._evaluator is None:
            self._evaluator = TraceEinsumEvaluator(trace, bool(self.enumerated), self.plate_nesting)
        with _quiet():
            return self._evaluator.log_prob(trace)

    def with_gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The same with its gradient: (), (size,)."""
        with torch.enable_grad(), double_precision():
            u = u.detach().requires_grad_()
            value = self.log_density(u)
            if not value.requires_grad:
                raise ModelError("the density does not depend on any latent site through differentiable operations")
            (gradient,) = torch.autograd.grad(value, u)
        return value.detach(), gradient

    def values(self, u: Tensor) -> dict[str, Tensor]:
        """Latents and deterministic sites at an unconstrained vector; discrete latents are drawn from their prior."""
        return self._values(self.trace(u))

    def values_given_data(self, u: Tensor) -> dict[str, Tensor]:
        """The same with discrete latents from their posterior, given the continuous ones and the data."""
        program = _Place(u, self.latents)(config_enumerate(self.model))
        program = infer_discrete(program, first_available_dim=-1 - self.plate_nesting, temperature=1)
        with _quiet(), poutine.trace() as capture:
            program(*self.args, **self.kwargs)
        return self._values(capture.trace)

    def _values(self, trace: Any) -> dict[str, Tensor]:
        return {name: trace.nodes[name]["value"] for name in (*self.latents, *self.deterministics)}

    def slopes_without_volume(self, u: Tensor) -> Tensor:
        """The gradient of log p(latents, data) alone, (size,)."""
        with torch.enable_grad(), double_precision():
            u = u.detach().requires_grad_()
            value = self._log_joint(self._run(self._enumerated_model(), u)[1])
            if not value.requires_grad:
                return torch.zeros_like(u)
            return torch.autograd.grad(value, u, materialize_grads=True)[0]

    def log_volume(self, u: Tensor) -> Tensor:
        """Log |d latents / du| alone, ()."""
        with torch.no_grad():
            return torch.as_tensor(self._run(self.model, u)[0].log_volume)

    def trace(self, u: Tensor) -> Any:
        """The model's trace at an unconstrained vector; discrete latents are drawn."""
        return self._run(self.model, u)[1]

    def _run(self, model: Program, u: Tensor) -> tuple[_Place, Any]:
        place = _Place(u, self.latents)
        try:
            with _quiet(), place, poutine.trace() as capture:
                model(*self.args, **self.kwargs)
        except ValueReadError as error:
            error.place = f", after site {place.last!r}" if place.last else ", before its first site"
            raise
        self._check_sites(capture.trace)
        for site in capture.trace.nodes.values():
            if site["type"] == "sample" and site["is_observed"]:
                site["fn"] = within_support(site["fn"])
        return place, capture.trace

    def _check_sites(self, trace: Any) -> None:
        """Refuse a model whose later calls have other sites than its first: arguments that were used up, branches.

        Raises:
            ModelError: If so; names one of them.
        """
        nodes = trace.nodes.items()
        sites = {name for name, site in nodes if site["type"] == "sample" and not is_subsample(site["fn"])}
        other = sites ^ {*self.drawn, *self.deterministics, *self.observed}
        if other:
            name = min(other)
            raise ModelError(
                f"site {name!r} is {'new at' if name in sites else 'missing from'} a later call of the model: give "
                f"data in tensors or lists, not in an iterator, which one call uses up, and decide about sites by "
                f"nothing that is drawn or changes"
            )

    def free(self, values: Mapping[str, Tensor]) -> Tensor:
        """The unconstrained vector of given latents, (size,), float64."""
        invert = _Invert(values, self.latents)
        with torch.no_grad(), untouched(), own_parameters(), _quiet(), invert:
            self.model(*self.args, **self.kwargs)
        return torch.cat([invert.found[name].reshape(-1) for name in self.latents]).double().cpu()

    def _enumerated_model(self) -> Program:
        if not self.enumerated:
            return self.model
        return poutine.enum(config_enumerate(self.model), first_available_dim=-1 - self.plate_nesting)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without checks of arguments, which were made once, and outside of every handler's sight."""
    with double_precision(), pyro.validation_enabled(False):
        yield


@contextlib.contextmanager
def own_parameters() -> Iterator[None]:
    """Inside, programs may make parameters in Pyro's store; afterwards those that are new are gone."""
    store = pyro.get_param_store()
    before = set(store.keys())
    try:
        yield
    finally:
        for name in set(store.keys()) - before:
            del store[name]


class _Place(Messenger):
    """Gives latents the values of an unconstrained vector."""

    def __init__(self, u: Tensor, latents: Mapping[str, Latent]) -> None:
        super().__init__()
        self._u, self._latents = u, latents
        self.log_volume: Any = 0.0
        self.last: str | None = None

    def _pyro_sample(self, msg: Message) -> None:
        self.last = str(msg["name"])
        latent = self._latents.get(self.last)
        if latent is None or msg["is_observed"]:
            return
        free = self._u[latent.start : latent.stop].reshape(latent.free_shape)
        bijection = bijection_of(msg["fn"])
        value = bijection(free)
        self.log_volume = self.log_volume + bijection.log_abs_det_jacobian(free, value).sum()
        msg["value"], msg["done"] = value, True


class _Invert(Messenger):
    """Gives latents their values, and finds the unconstrained ones."""

    def __init__(self, values: Mapping[str, Tensor], latents: Mapping[str, Latent]) -> None:
        super().__init__()
        self._values, self._latents = values, latents
        self.found: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Message) -> None:
        name = str(msg["name"])
        if name in self._latents and not msg["is_observed"]:
            value = self._values[name].reshape(self._latents[name].shape)
            self.found[name] = bijection_of(msg["fn"]).inv(value)
            msg["value"], msg["done"] = value, True


# ---- what a model consists of


def density_of(model: Program, args: tuple, kwargs: dict[str, Any], *, sampled: bool = True) -> Density:
    """Look at a model once, with checks of every argument and value.

    Args:
        model: Any Pyro program.
        args: Its arguments.
        kwargs: The same.
        sampled: Whether its latents are to be sampled by gradients; otherwise they may be of any kind.

    Raises:
        ModelError: If the model cannot be sampled: names the site, what is wrong with it and the cure.
    """
    if handlers_around():
        raise ModelError("a Pyro handler is active around the call: apply it to the model instead of calling inside it")
    trace = prototype(model, args, kwargs)
    sites = {name: site for name, site in trace.nodes.items() if site["type"] == "sample"}
    for name in [name for name, site in sites.items() if is_subsample(site["fn"])]:
        _check_plate(name, sites.pop(name))
    found = Density(model, args, kwargs, {}, {}, {}, {}, {}, [], _nesting(sites))
    for name, site in sites.items():
        if _is_deterministic(site):
            found.deterministics[name] = _site(name, site)
        elif site["is_observed"]:
            seen = found.observed[name] = _site(name, site)
            found.data[name] = site["value"].detach().expand(seen.shape)
        else:
            found.drawn[name] = _site(name, site)
            if sampled and _is_discrete(name, site):
                found.enumerated.append(name)
            elif sampled:
                found.latents[name] = _latent(name, site, found.size)
    if sampled and not found.latents:
        raise ModelError(
            "the model has no continuous latent site: there is nothing for Hamiltonian Monte Carlo to draw"
        )
    if found.enumerated:
        _check_dimensions(found)
    return found


def _check_dimensions(density: Density) -> None:
    """Refuse dimensions that Pyro would take for those of the discrete latents that are summed out.

    Raises:
        ModelError: If a site has one outside of plates and events.
    """
    for site in (*density.drawn.values(), *density.observed.values()):
        batch = site.shape[: len(site.shape) - site.event_dim]
        for axis, size in enumerate(batch):
            if size > 1 and axis not in site.plates:
                raise ModelError(
                    f"site {site.name!r} has a dimension of {size} in no plate, beside the discrete latent "
                    f"{density.enumerated[0]!r}, which is summed out: put it into a plate, or make it part of the "
                    f"event by to_event"
                )


def _nesting(sites: Mapping[str, Any]) -> int:
    return max((-frame.dim for site in sites.values() for frame in _frames(site)), default=0)


def prototype(model: Program, args: tuple, kwargs: dict[str, Any]) -> Any:
    """One run of a model in double precision, every log-probability checked.

    Raises:
        ModelError: If it fails, with the site before which or at which it did.
    """
    last = _LastSite()
    with torch.no_grad(), untouched(), own_parameters(), double_precision(), pyro.validation_enabled(True):
        try:
            with last:
                trace = poutine.trace(model).get_trace(*args, **kwargs)
        except Exception as error:
            raise ModelError(f"the model fails {last.place}{_line_of(error)}: {_one_line(error)}") from error
        for name, site in trace.nodes.items():
            if site["type"] == "sample" and not is_subsample(site["fn"]):
                try:
                    site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
                except Exception as error:
                    if not (site["is_observed"] and _support_moves(model, args, kwargs, name)):
                        raise ModelError(f"site {name!r} cannot be scored: {_one_line(error)}") from error
    return trace


def _support_moves(model: Program, args: tuple, kwargs: dict[str, Any], name: str) -> bool:
    """Whether the support of a site depends on latents, so that other values of these may have its data in it."""
    try:
        with torch.enable_grad(), _Sloping():
            return moves(poutine.trace(model).get_trace(*args, **kwargs).nodes[name]["fn"])
    except Exception:  # such as of a model that reads values
        return False


class _Sloping(Messenger):
    """Latents have gradients, which show what depends on them."""

    def __init__(self) -> None:
        super().__init__()

    def _pyro_post_sample(self, msg: Message) -> None:
        value = msg["value"]
        if not msg["is_observed"] and isinstance(value, Tensor) and value.is_floating_point():
            msg["value"] = value.detach().requires_grad_() + 0


class _LastSite(Messenger):
    """Remembers the last site, and begins latents that cannot be drawn somewhere in their support."""

    def __init__(self) -> None:
        super().__init__()
        self.place = "before its first site"

    def _pyro_sample(self, msg: Message) -> None:
        self.place = f"at site {str(msg['name'])!r}"
        distribution = msg["fn"]
        if not msg["is_observed"] and kind_of(distribution) == "ImproperUniform":
            bijection = bijection_of(distribution)
            free = torch.rand(bijection.inverse_shape(distribution.shape()))
            msg["value"], msg["done"] = bijection(free), True

    def _pyro_post_sample(self, msg: Message) -> None:
        self.place = f"after site {str(msg['name'])!r}"


def _is_deterministic(site: Any) -> bool:
    """Whether a site only gives a name to a value: `pyro.deterministic`, and what a reparametrisation leaves."""
    return site["infer"].get("_deterministic", False) or (site["is_observed"] and kind_of(site["fn"]) == "Delta")


def _check_plate(name: str, site: Any) -> None:
    size, drawn = site["fn"].size, site["fn"].subsample_size
    if drawn is not None and drawn < size:
        raise ModelError(
            f"the plate {name!r} takes {drawn} of {size} observations at random, and so density and draws would be of "
            f"others at each call: drop subsample_size and give all the data, or fit the model by SVI"
        )


def _is_discrete(name: str, site: Any) -> bool:
    """Whether a latent is summed out.

    Raises:
        ModelError: If it is discrete and cannot be.
    """
    distribution = site["fn"]
    try:
        discrete = distribution.support.is_discrete
    except NotImplementedError as error:
        raise ModelError(
            f"site {name!r} has a distribution without a support, {kind_of(distribution)}: give its class one"
        ) from error
    if not discrete:
        return False
    if not distribution.has_enumerate_support:
        raise ModelError(
            f"site {name!r} is discrete and cannot be enumerated, {kind_of(distribution)}: sum it out of the model, or "
            f"replace it by a distribution with finitely many values"
        )
    if site["infer"].get("enumerate", "parallel") != "parallel":
        raise ModelError(
            f"site {name!r} asks to be enumerated {site['infer']['enumerate']!r}: only 'parallel' can be traced"
        )
    return True


def _latent(name: str, site: Any, start: int) -> Latent:
    distribution, value = site["fn"], site["value"]
    if kind_of(distribution) == "Delta":
        raise ModelError(
            f"site {name!r} is a latent Delta, which has no density to sample: use pyro.deterministic({name!r}, ...)"
        )
    try:
        free_shape = bijection_of(distribution).inverse_shape(value.shape)
    except NotImplementedError as error:
        raise ModelError(
            f"site {name!r} has the support {distribution.support}, for which there is no transform to real numbers "
            f"({kind_of(distribution)}): reparametrise it, or register one with torch.distributions.biject_to"
        ) from error
    plain = _site(name, site)
    return Latent(**vars(plain), start=start, free_shape=tuple(free_shape))


def _site(name: str, site: Any) -> Site:
    shape = tuple(site["value"].shape)
    event_dim = 0 if _is_deterministic(site) else site["fn"].event_dim
    batch = len(shape) - event_dim
    if site["is_observed"] and not _is_deterministic(site):  # a plate of data that are all the same may be given one
        shape = (*torch.broadcast_shapes(shape[:batch], site["fn"].batch_shape), *shape[batch:])
        batch = len(shape) - event_dim
    plates = {batch + f.dim: f.name for f in _frames(site) if -f.dim <= batch and shape[batch + f.dim] == f.size}
    return Site(name, shape, event_dim, plates, site["value"].dtype)


def _frames(site: Any) -> list[Any]:
    return [frame for frame in site.get("cond_indep_stack", ()) if frame.vectorized]


_LIBRARIES = tuple(str(Path(str(module.__file__)).parent) + os.sep for module in (torch, pyro))
_OWN = str(Path(__file__).parents[1]) + os.sep


def _line_of(error: Exception) -> str:
    """The last line of the user's own code on the way to an error."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OWN)]
    own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _one_line(error: Exception) -> str:
    """What an error says, without the table of shapes that Pyro puts behind it."""
    return " ".join(str(error).split("Trace Shapes:")[0].split()) or type(error).__name__


# ---- what is wrong at a point


def first_not_finite(density: Density, u: Tensor) -> str | None:
    """The first site, in the order of the model, whose log-probability is not finite at a point, with its numbers."""
    with torch.enable_grad(), untouched(), own_parameters():
        trace = density.trace(u.detach().requires_grad_())
        for name, site in trace.nodes.items():
            if site["type"] != "sample" or is_subsample(site["fn"]) or _is_deterministic(site):
                continue
            with double_precision():
                score = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
            if not torch.isfinite(score).all():
                wrong = score[~torch.isfinite(score)].reshape(-1)[0].item() if score.ndim else score.item()
                what = "its value" if not torch.isfinite(site["value"]).all() else "its log-probability"
                return f"{what} at site {name!r} is {wrong if what != 'its value' else 'not finite'}"
    return None


def scales_that_are_sampled(density: Density, u: Tensor) -> list[str]:
    """Latents of location and scale whose scale is sampled too: where funnels come from."""
    with torch.enable_grad(), untouched(), own_parameters():
        trace = density.trace(u.detach().requires_grad_())
    found = []
    for name in density.latents:
        distribution = trace.nodes[name]["fn"]
        while hasattr(distribution, "base_dist"):
            distribution = distribution.base_dist
        scale = getattr(distribution, "scale", None)
        if hasattr(distribution, "loc") and isinstance(scale, Tensor) and scale.requires_grad:
            found.append(name)
    return found
