"""`pyrovae.explore`: the explorer in a notebook, where the kernel decodes."""

from __future__ import annotations

import copy
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pyrovae.checks import Count, Place, Within, checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import ImageSet, policy_of
from pyrovae.data.fixed import evenly_spaced
from pyrovae.data.pixels import PixelChoice
from pyrovae.explorer import content
from pyrovae.explorer.page import MOST_BYTES, assembled, fitting_images, pack
from pyrovae.export import MissingLibrary
from pyrovae.models import LatentVariableModel
from pyrovae.runs.loading import Run

if TYPE_CHECKING:
    from pyrovae.explorer.widget import Networks


@checked
def explore(
    model: LatentVariableModel,
    images: ImageSet,
    *,
    split: Literal["train", "validation", "test"] = "test",
    pixels: PixelChoice = "auto",
    count: Count = 1500,
    posteriors: Place = 6,
    height: Annotated[int, Within(200, 5000)] = 1000,
) -> Any:
    """Explore the latent space of a model in a notebook: decode, draw, interpolate, sample, true posteriors.

    The widget keeps a copy of the model as it is now, on the CPU. The kernel runs it, so every part works, also those
    that cannot be exported.

    Args:
        model: The model, with a code of two dimensions or more.
        images: An image set of the model's shape.
        split: Which of its images have their codes shown.
        pixels: How grey images become the model's x; see `pyrovae.data.pixels`.
        count: How many of them, at most.
        posteriors: Images whose true posterior is computed, for a code of two dimensions.
        height: Height of the widget, pixels.

    Returns:
        The widget, an `Explorer`; as the last line of a cell it is shown.

    Raises:
        MissingLibrary: If anywidget is not installed.
        ValueError: If the images do not fit the model, or the split is empty.
        NotApplicable: If codes have one dimension, and so no plane.
    """
    try:
        import_module("anywidget")
    except ImportError as error:
        raise MissingLibrary(
            "a widget needs the package anywidget, which cannot be imported: pip install 'pyrovae[widget]', or write "
            "a page of a run by pyrovae explore RUN"
        ) from error
    from pyrovae.explorer.widget import Explorer, Networks

    if tuple(images.image_shape) != tuple(model.shapes.image_shape):
        raise ValueError(
            f"the model takes images of the shape {tuple(model.shapes.image_shape)}, and these have "
            f"{tuple(images.image_shape)}: give the set that it was trained on"
        )
    if not len(images.splits[split]):
        raise ValueError(f"{images.name} has no {split} images: choose another split")
    kept = copy.deepcopy(model).cpu().eval()
    run = Run(Path(images.name), kept, images, policy_of(images, pixels))
    networks = Networks(kept)
    return Explorer(networks, _page(run, networks, split, count, posteriors), height)


def _page(run: Run, networks: Networks, split_name: str, count: int, posteriors: int) -> str:
    """The HTML of a page whose networks are the kernel's."""
    whole, grey = run.split(split_name), run.data.split(split_name)
    chosen = evenly_spaced(len(whole), count)
    codes = content.codes_of(run, whole.take(chosen))
    fitting = fitting_images(grey, chosen, codes.means.astype("float32"), MOST_BYTES)
    if fitting is None:
        raise NotApplicable(f"the images are too large for a page: {len(chosen)} of them take more than 8 MB")
    number, thumbnails, packed = fitting
    present: dict[str, Any] = {name: {} for name in ("decoder", "encoder") if name not in networks.missing}
    facts = content.facts_of(run, codes.first(number), present, networks.missing, "The kernel runs the networks.")
    draws, by_class = content.prior_draws(run)
    found, values = content.truths(run, whole.take(chosen[:number]), posteriors)
    facts |= {"kernel": True, "thumbnails": thumbnails, "truths": found, "priorByClass": by_class}
    packed |= {"prior": pack(draws.tobytes()), "truths": pack(values)}
    return assembled(f"{type(run.model).__name__} of {run.data.name}", facts, packed, "")
