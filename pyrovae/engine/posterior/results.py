"""Draws of a Pyro model in ArviZ's terms: `InferenceData` of ArviZ 0.x, `DataTree` of 1.x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyrovae.engine.arviz import arviz_and_xarray
from pyrovae.engine.posterior.density import Density, Site
from pyrovae.engine.posterior.errors import ModelError

Dims = Mapping[str, Sequence[str]]
Coords = Mapping[str, Sequence[Any] | np.ndarray]
START = ("chain", "draw")


class Labels:
    """Names of the dimensions of a model's sites, from its plates and from the caller.

    Args:
        density: The model.
        dims: Names of a site's dimensions, of all of them or of the event's alone.
        coords: Labels along a dimension.

    Raises:
        ValueError: If they fit no site.
    """

    def __init__(self, density: Density, dims: Dims | None, coords: Coords | None) -> None:
        self._sites = {**density.drawn, **density.deterministics, **density.observed}
        if taken := [name for name in self._sites if name in START]:
            raise ModelError(f"site {taken[0]!r} has the name of a dimension of the answer: give it another")
        self._dims = {name: self._checked(name, names) for name, names in (dims or {}).items()}
        self._coords = {name: np.asarray(labels) for name, labels in (coords or {}).items()}
        known = {dim for name, site in self._sites.items() for dim in self.of(name, len(site.shape))}
        if unknown := sorted(self._coords.keys() - known):
            raise ValueError(f"coords must be for dimensions of the model ({', '.join(sorted(known))}), got {unknown}")
        first: dict[str, tuple[str, int]] = {}
        for name, site in self._sites.items():
            for dim, size in zip(self.of(name, len(site.shape)), site.shape, strict=True):
                other, length = first.setdefault(dim, (name, size))
                if length != size:
                    raise ValueError(
                        f"dimension {dim!r} is {length} long at site {other!r} and {size} at site {name!r}: name it "
                        f"otherwise by dims"
                    )
                if dim in self._coords and len(self._coords[dim]) != size:
                    raise ValueError(
                        f"coords[{dim!r}] must have {size} labels, as site {name!r} has, got {len(self._coords[dim])}"
                    )

    def _checked(self, name: str, names: Sequence[str]) -> tuple[str, ...]:
        if name not in self._sites:
            raise ValueError(f"dims must be for sites of the model ({', '.join(self._sites)}), got {name!r}")
        if isinstance(names, str) or len(names) > len(self._sites[name].shape):
            raise ValueError(
                f"dims[{name!r}] must name the last of {len(self._sites[name].shape)} dimensions, got {names!r}"
            )
        if clash := [dim for dim in names if dim in self._sites or dim in START]:
            raise ValueError(f"dims[{name!r}] must not be names of sites, chain or draw, got {clash[0]!r}")
        return tuple(names)

    def of(self, name: str, count: int) -> tuple[str, ...]:
        """Names of the dimensions of a site's value, or of its log-probability, which lacks the event's."""
        site = self._sites[name]
        return self._named(site)[:count]

    def _named(self, site: Site) -> tuple[str, ...]:
        plain = []
        for axis in range(len(site.shape)):
            dim = site.plates.get(axis, f"{site.name}_dim_{axis}")
            taken = dim in self._sites or dim in START
            plain.append(f"{dim}_dim" if taken else dim)
        given = self._dims.get(site.name, ())
        return (*plain[: len(plain) - len(given)], *given)

    def coordinates(self, dims: Sequence[str], shape: Sequence[int]) -> dict[str, np.ndarray]:
        """Labels along dimensions."""
        return {dim: self._coords.get(dim, np.arange(size)) for dim, size in zip(dims, shape, strict=True)}

    def dataset(self, values: Mapping[str, np.ndarray], start: Sequence[str] = START, **attrs: Any) -> Any:
        """An `xarray.Dataset` of values of sites, each with `start` in front of its own dimensions."""
        _, xarray = arviz_and_xarray()
        variables: dict[str, Any] = {}
        coords: dict[str, np.ndarray] = {}
        for name, value in values.items():
            dims = (*start, *self.of(name, value.ndim - len(start)))
            variables[name] = (dims, value)
            coords |= self.coordinates(dims, value.shape)
        return xarray.Dataset(variables, coords, attrs)


def stats_dataset(stats: Mapping[str, np.ndarray], **attrs: Any) -> Any:
    """An `xarray.Dataset` of numbers of each transition, (chains, draws)."""
    _, xarray = arviz_and_xarray()
    shape = next(iter(stats.values())).shape
    coords = {dim: np.arange(size) for dim, size in zip(START, shape, strict=True)}
    return xarray.Dataset({name: (START, value) for name, value in stats.items()}, coords, attrs)


def assembled(groups: Mapping[str, Any]) -> Any:
    """ArviZ's object of these groups."""
    arviz, xarray = arviz_and_xarray()
    if arviz.__version__.startswith("0."):
        return arviz.InferenceData(**groups)
    return xarray.DataTree.from_dict(dict(groups))


def group(data: Any, name: str) -> Any:
    """A group as an `xarray.Dataset`, of ArviZ's object of either version."""
    _, xarray = arviz_and_xarray()
    found = data[name]
    return found if isinstance(found, xarray.Dataset) else found.to_dataset()


def has_group(data: Any, name: str) -> bool:
    """Whether an object is ArviZ's, of either version, and has a group."""
    if callable(groups := getattr(data, "groups", None)):  # InferenceData
        return name in groups()
    return name in getattr(data, "children", {})
