"""Models ranked by the bound of the same images, with the errors of paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyrovae.checks import Count, Seed
from pyrovae.data import Split
from pyrovae.estimates import Estimate, PerImage
from pyrovae.inference.elbo import bound_of_each
from pyrovae.inference.graphs import GraphEngine
from pyrovae.inference.importance import importance_weighted
from pyrovae.metrics.report import Policy, check_comparable
from pyrovae.models import LatentVariableModel


@dataclass(frozen=True)
class Ranked:
    """A model's place.

    Attributes:
        name: Its name.
        bound: Minus the bound, mean over the images.
        behind: How much that is more than the best model's, with the errors of the differences image by image.
        conditional: Whether it is a bound of log p(x | y), of a model that is given the label.
    """

    name: str
    bound: Estimate
    behind: Estimate
    conditional: bool


@dataclass(frozen=True)
class Ranking:
    """Models, the best first.

    Attributes:
        policy: Data, split, pixels and score, the same for all.
        images: Number of images.
        how: The bound, in words.
        seed: Seed of the codes.
        places: The models.
    """

    policy: Policy
    images: int
    how: str
    seed: int
    places: tuple[Ranked, ...]

    def __str__(self) -> str:
        width = max(len(place.name) for place in self.places)
        lines = [f"{self.policy}, {self.images:,} images, seed {self.seed}: {self.how}, nats per image; less is better"]
        for number, place in enumerate(self.places, 1):
            behind = "" if number == 1 else _behind(place.behind)
            lines.append(
                f"{number:>3}. {place.name:<{width}}  {place.bound.value:10.3f} ± {place.bound.sampling:.2g}{behind}"
            )
        lines.append("± of a bound is its sampling error; of a difference, that of the differences image by image")
        if len({place.conditional for place in self.places}) > 1:
            given = ", ".join(place.name for place in self.places if place.conditional)
            lines.append(f"note: {given}: bounds of log p(x | y), the label given; the others are of log p(x)")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All numbers by name, for JSON."""
        return {
            "policy": vars(self.policy),
            "images": self.images,
            "how": self.how,
            "seed": self.seed,
            "unit": "nats per image",
            "places": [
                {
                    "name": place.name,
                    "bound": place.bound.value,
                    "error": place.bound.sampling,
                    "behind": place.behind.value,
                    "behind_error": place.behind.sampling,
                    "conditional": place.conditional,
                }
                for place in self.places
            ],
        }


def _behind(difference: Estimate) -> str:
    error = difference.sampling
    judged = f" = {difference.value / error:.1f} errors" if error else ""
    return f"   {difference.value:+.3f} ± {error:.2g}{judged}"


def rank(
    models: Mapping[str, LatentVariableModel],
    split: Split,
    policies: Mapping[str, Policy],
    *,
    samples: Count = 1,
    engine: GraphEngine = "graph",
    seed: Seed = 0,
    progress: Callable[[int], object] = lambda codes: None,
) -> Ranking:
    """Rank models by minus the bound of the same images.

    Args:
        models: The models, by their names.
        split: Images, uint8 (N, C, H, W), and labels, (N,), with the pixels that the models were trained on.
        policies: Data, split, pixels and score of each model.
        samples: Codes of each image: 1 for the ELBO, more for the importance-weighted bound of so many.
        engine: Engine of the importance-weighted bound.
        seed: Seed of the codes.
        progress: Called with the number of codes done since the last call.

    Raises:
        ValueError: If there are fewer than two models or images, their policies differ, or a model has no bound.
    """
    if len(models) < 2:
        raise ValueError(f"a ranking needs at least two models, got {len(models)}")
    if len(split) < 2:
        raise ValueError(f"the errors of a ranking need at least two images, got {len(split)}")
    first, *others = models
    for name in others:
        check_comparable(policies[first], policies[name], (first, name))
    for name, model in models.items():
        model.need_bound(f"{name} has no bound, as its codes have no density: leave it out")
    found = {}
    for name, model in models.items():
        if samples == 1:
            found[name] = bound_of_each(model, split, seed=seed)
            progress(2 * len(split))
        else:
            likelihood = importance_weighted(model, split, samples, engine=engine, seed=seed, progress=progress)
            found[name] = PerImage(-likelihood.log_likelihood, likelihood.error)
    order = sorted(found, key=lambda name: float(found[name].value.mean()))
    best = found[order[0]]
    score = policies[first].score
    bound = "-ELBO" if score == "NLL" else f"{score} + KL, no bound of any likelihood"
    return Ranking(
        policy=policies[first],
        images=len(split),
        how=bound if samples == 1 else f"minus the importance-weighted bound of log p(x), k = {samples:,}",
        seed=seed,
        places=tuple(
            Ranked(name, found[name].mean, (found[name] - best).mean, models[name].shapes.num_classes > 0)
            for name in order
        ),
    )
