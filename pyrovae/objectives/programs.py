"""What an engine trains: a model's two programs with the weights of their terms, and the estimator of the bound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from pyro.infer.elbo import ELBO
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from pyrovae.objectives.weighting import Program
from pyrovae.semi_supervised import SemiSupervisedVAE


@dataclass(frozen=True)
class Programs:
    """Two programs of the arguments (beta, x, y), and the estimator of their bound.

    Attributes:
        model: The weighted generative program.
        guide: The weighted inference program.
        elbo: Pyro's estimator.
    """

    model: Program
    guide: Program
    elbo: ELBO

    def parts(self, plates: Iterable[str]) -> dict[str, int]:
        """Which part of a batch each plate holds, by name.

        Args:
            plates: Names of the plates of images in the model's own programs.
        """
        return dict.fromkeys(plates, 0)

    def terms(self, log_probs: Mapping[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction and KL, in nats per image.

        Args:
            log_probs: Log-densities summed over the images of each step, by "model.SITE" and "guide.SITE", (steps,).
            images: Number of images of each step, (steps,).
        """
        reconstruction, kl = _terms(log_probs, images)
        return reconstruction / images, kl / images


@dataclass(frozen=True)
class FewLabels:
    """How a batch is made of images with labels and without.

    Attributes:
        known: How many images of a batch have labels, its first ones.
        share: Share of the training images that have labels, by which the two parts of a batch are weighted.
    """

    known: int
    share: float


@dataclass(frozen=True)
class MixedPrograms(Programs):
    """Programs of a batch whose first images have labels.

    Attributes:
        few: How the batch is made; None if all of its images have labels.
    """

    few: FewLabels | None

    @classmethod
    def of(
        cls, model: SemiSupervisedVAE, weighted: tuple[Program, Program], elbo: ELBO, few: FewLabels | None
    ) -> MixedPrograms:
        """The programs of a model.

        Args:
            model: The model.
            weighted: Its model and guide, as means over the images that they are given.
            elbo: The estimator.
            few: How a batch is made.
        """
        share = 1.0 if few is None else few.share
        both = _on_both(weighted[0], share)

        def classified(beta: Tensor, x: Tensor, y: Tensor) -> None:
            both(beta, x, y)
            with poutine.scale(scale=model.alpha / len(y)), _Prefixed(CLASSIFIER):
                model.classification(x[: len(y)], y)

        return cls(classified if model.alpha else both, _on_both(weighted[1], share), elbo, few)

    def parts(self, plates: Iterable[str]) -> dict[str, int]:
        """Images with labels are the first part, and others the second, if there are any."""
        found: dict[str, int] = {}
        for name in plates:
            found |= {name: 0 if self.few is None else 1, f"{LABELLED}{name}": 0, f"{CLASSIFIER}{name}": 0}
        return found

    def terms(self, log_probs: Mapping[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction and KL of both parts with their weights; the KL of a known label is -log p(y)."""
        known, share = (images, 1.0) if self.few is None else (self.few.known, self.few.share)
        labelled, others = {}, {}
        for name, value in log_probs.items():
            program, site = name.split(".", 1)
            if site.startswith(LABELLED):
                labelled[f"{program}.{site.removeprefix(LABELLED)}"] = value
            elif not site.startswith(CLASSIFIER):
                others[name] = value
        # A label that is known has the guide's probability 1.
        labelled["guide.y"] = 0.0 * labelled["model.y"]
        found = [share / known * term for term in _terms(labelled, images)]
        if self.few is None:
            return found[0], found[1]
        more = [(1 - share) / (images - known) * term for term in _terms(others, images)]
        return found[0] + more[0], found[1] + more[1]


LABELLED, CLASSIFIER = "labelled.", "classifier."
"""What the names of sites of labelled images begin with."""


class EnumeratedELBO(TraceEnum_ELBO):
    """`TraceEnum_ELBO` whose sites tell their expectation: the guide's mean over the values that are enumerated.

    The bound is Pyro's own. Only what is logged of each site differs, which Pyro leaves unweighted.
    """

    sums_over_rows = True

    def __init__(self, particles: int = 1) -> None:
        super().__init__(
            num_particles=particles,
            vectorize_particles=True,
            max_plate_nesting=1,
            strict_enumeration_warning=False,  # all labels of a batch may be known
        )

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        traces = super()._get_trace(model, guide, args, kwargs)
        weigh_enumerated(*traces)
        return traces


def weigh_enumerated(model_trace: Any, guide_trace: Any) -> None:
    """Weight the log-densities of traces by the guide's probabilities of enumerated values, so that sums are means."""
    sites = [site for trace in (guide_trace, model_trace) for site in trace.nodes.values() if site["type"] == "sample"]
    for drawn in guide_trace.nodes.values():
        dim = drawn["infer"].get("_enumerate_dim") if drawn["type"] == "sample" else None
        if dim is None:
            continue
        probability = drawn["unscaled_log_prob"].exp()
        for site in sites:
            logs = site.get("unscaled_log_prob")
            if logs is not None and logs.ndim >= -dim and logs.shape[dim] > 1:
                site["unscaled_log_prob"] = probability * logs


class _Prefixed(Messenger):
    """Puts a prefix before the names of a program's sites and plates, so that it can run twice."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix

    def _pyro_sample(self, msg: Message) -> None:
        msg["name"] = f"{self.prefix}{msg['name']}"
        plates = [frame._replace(name=f"{self.prefix}{frame.name}") for frame in msg["cond_indep_stack"]]
        msg["cond_indep_stack"] = tuple(plates)


def _on_both(program: Program, share: float) -> Program:
    """A program on the images that have labels, and on those that have none, each with its share."""

    def both(beta: Tensor, x: Tensor, y: Tensor) -> None:
        known = len(y)
        with poutine.scale(scale=share), _Prefixed(LABELLED):
            program(beta, x[:known], y)
        if known < len(x):
            with poutine.scale(scale=1 - share):
                program(beta, x[known:])

    return both


def _terms(log_probs: Mapping[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the log-density of what is observed, and log q - log p of what is not, summed over the images."""
    observed = kl = torch.zeros(images.shape, device=images.device)
    for name, value in log_probs.items():
        program, site = name.split(".", 1)
        if program == "guide":
            kl = kl + value
        elif f"guide.{site}" in log_probs:
            kl = kl - value
        else:
            observed = observed + value
    return -observed, kl
