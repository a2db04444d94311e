"""Export to ArviZ: `InferenceData` of ArviZ 0.x, `DataTree` of 1.x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrovae.checks import Count, Seed, checked
from pyrovae.data import Split, to_unit
from pyrovae.diagnostics.predictive import expected_images, images_at
from pyrovae.engine.arviz import MissingArvizError, arviz_and_xarray
from pyrovae.files import replace_file
from pyrovae.inference.classes import ClassPosterior
from pyrovae.inference.draws import PosteriorDraws, thinned
from pyrovae.inference.likelihood import LikelihoodEstimate
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

PIXEL_DIMS = ("channel", "row", "column")


@checked
def to_arviz(
    model: LatentVariableModel,
    split: Split,
    posterior: PosteriorDraws,
    *,
    guide: PosteriorDraws | None = None,
    likelihood: LikelihoodEstimate | None = None,
    classes: ClassPosterior | None = None,
    images: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    predictive: Count = 100,
    seed: Seed = 0,
) -> Any:
    """Collect draws and estimates of some images' codes in one ArviZ object.

    Groups: `posterior` with `sample_stats`, `guide`, `prior`, images drawn from each (`posterior_predictive` and so
    on), `log_likelihood`, `observed_data`, and `constant_data` with labels and p(y | x). Variables are `z` and `x`, or
    `x_mean` if the likelihood is not a density. See `summary` for groups with the attribute `independent_draws`.

    Args:
        model: The model.
        split: The images of the draws.
        posterior: Draws from the true posterior, by `nuts_posterior` or from a grid.
        guide: Draws from the guide.
        likelihood: Result of `importance_weighted` for the same images.
        classes: Result of `classify` for the same images.
        images: Numbers of the images, as coordinates; 0, 1, ... by default.
        class_names: Names of the classes.
        predictive: Images drawn for each predictive group.
        seed: Seed of the prior and the predictive draws.

    Returns:
        `arviz.InferenceData`, or `xarray.DataTree` with ArviZ 1.x.

    Raises:
        ValueError: If the numbers of images differ, or ArviZ is not installed.
    """
    arviz, xarray = arviz_and_xarray()
    _check_same_images(len(split), posterior, guide, likelihood, classes)
    names = class_names or map(str, range(model.shapes.num_classes))
    coords: dict[str, Any] = {"image": list(images or range(len(split))), "class": list(names)}
    builder = _Groups(model, split, xarray, coords, predictive, seed)
    groups = builder.of_draws("posterior", posterior) | builder.prior()
    groups["observed_data"] = builder.set({"x": (("image", *PIXEL_DIMS), to_unit(split.images).numpy())})
    groups["constant_data"] = builder.constants(classes)
    if not posterior.independent:
        groups["sample_stats"] = builder.diverging(posterior)
    if guide is not None:
        groups |= builder.of_draws("guide", guide)
    if likelihood is not None:
        groups["log_likelihood"] = builder.likelihood(likelihood)
    if arviz.__version__.startswith("0."):
        return arviz.InferenceData(**groups)
    return xarray.DataTree.from_dict(groups)


def save_arviz(data: Any, path: Path) -> None:
    """Write the result of `to_arviz` to a netCDF file atomically. `arviz.from_netcdf` reads it.

    Raises:
        MissingArvizError: If the library that writes netCDF is not installed.
    """
    if missing := [name for name in ("h5netcdf", "h5py") if find_spec(name) is None]:
        raise MissingArvizError(f"netCDF files need {' and '.join(missing)}: pip install h5netcdf h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda beside: data.to_netcdf(str(beside), engine="h5netcdf"))


def summary(data: Any, group: str = "posterior", **settings: Any) -> Any:
    """`arviz.summary` of a group, without R-hat and effective sizes if the draws are independent.

    Args:
        data: Result of `to_arviz`, or of reading its file.
        group: "posterior", "guide" or "prior".
        settings: Further arguments of `arviz.summary`.

    Returns:
        A pandas DataFrame.
    """
    arviz, xarray = arviz_and_xarray()
    chosen: Any = data[group]
    if hasattr(chosen, "to_dataset") and not isinstance(chosen, xarray.Dataset):
        chosen = chosen.to_dataset()
    if chosen.attrs["independent_draws"]:
        settings.setdefault("kind", "stats")
    return arviz.summary(chosen, **settings)


def _check_same_images(
    count: int,
    posterior: PosteriorDraws,
    guide: PosteriorDraws | None,
    likelihood: LikelihoodEstimate | None,
    classes: ClassPosterior | None,
) -> None:
    """Refuse draws and estimates whose number of images is not that of the split."""
    for what, number in (
        ("posterior", posterior.z.shape[2]),
        ("guide", guide.z.shape[2] if guide else count),
        ("likelihood", len(likelihood.log_likelihood) if likelihood else count),
        ("classes", len(classes.labels) if classes else count),
    ):
        if number != count:
            raise ValueError(f"{what} must be of the {count} images of the split, got {number}")


class _Groups:
    """Builder of the datasets of one object, which share coordinates."""

    def __init__(
        self, model: LatentVariableModel, split: Split, xarray: Any, coords: dict[str, Any], predictive: int, seed: int
    ) -> None:
        self.model, self.split, self.xarray, self.coords = model, split, xarray, coords
        self.predictive, self.seed = predictive, seed

    def set(self, variables: Mapping[str, tuple[tuple[str, ...], np.ndarray]], **attrs: Any) -> Any:
        """A dataset with a coordinate for every dimension."""
        coords = {}
        for dims, values in variables.values():
            for dim, size in zip(dims, np.shape(values), strict=True):
                coords[dim] = self.coords.get(dim, np.arange(size))
        return self.xarray.Dataset(dict(variables), coords, attrs)

    def of_draws(self, name: str, draws: PosteriorDraws) -> dict[str, Any]:
        """Draws of codes, and images drawn at some of them."""
        variables = {"z": (("chain", "draw", "image", "latent"), draws.z)}
        codes = self.set(variables, source=draws.source, independent_draws=int(draws.independent))
        return {name: codes, f"{name}_predictive": self.images(draws)}

    def diverging(self, draws: PosteriorDraws) -> Any:
        """Which transitions diverged for any of the images."""
        return self.set({"diverging": (("chain", "draw"), np.asarray(draws.diverging.any(2)))})

    def images(self, draws: PosteriorDraws) -> Any:
        """Images drawn at some of the codes, as one chain."""
        name, values = self._pixels(self.split.labels, thinned(draws, self.predictive))
        return self.set({name: (("chain", "draw", "image", *PIXEL_DIMS), values[None])}, source=draws.source)

    def prior(self) -> dict[str, Any]:
        """Codes of the prior, and images drawn at them; for each class of a conditional model."""
        classes = self.model.shapes.num_classes
        labels = torch.arange(max(classes, 1))
        with frozen(self.model, self.seed) as device:
            p = self.model.prior(labels.to(device) if classes else None).expand([len(labels)])
            z = p.sample(torch.Size([self.predictive])).cpu().numpy()
        name, x = self._pixels(labels, z)
        middle: tuple[str, ...] = ("class",) if classes else ()
        z, x = (z, x) if classes else (z[:, 0], x[:, 0])
        start = ("chain", "draw", *middle)
        return {
            "prior": self.set({"z": ((*start, "latent"), z[None])}, source="prior", independent_draws=1),
            "prior_predictive": self.set({name: ((*start, *PIXEL_DIMS), x[None])}, source="prior"),
        }

    def constants(self, classes: ClassPosterior | None) -> Any:
        """Labels, and p(y | x)."""
        variables: dict[str, Any] = {"label": (("image",), self.split.labels.numpy())}
        if classes is not None:
            variables["class_probability"] = (("image", "class"), classes.probabilities)
        return self.set(variables)

    def likelihood(self, estimate: LikelihoodEstimate) -> Any:
        """Log p(x) of each image, as one chain of one draw: it does not depend on a draw."""
        dims = ("chain", "draw", "image")
        variables = {"x": (dims, estimate.log_likelihood[None, None]), "x_error": (dims, estimate.error[None, None])}
        return self.set(variables, method=estimate.method)

    def _pixels(self, labels: torch.Tensor, codes: np.ndarray) -> tuple[str, np.ndarray]:
        if self.model.likelihood.is_density:
            return "x", images_at(self.model, labels, codes, self.seed)
        return "x_mean", expected_images(self.model, labels, codes)
