"""The names on a command line: the classes of each slot and the arguments of each class."""

import inspect
import sys
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyrovae import likelihoods, networks, posteriors, priors
from pyrovae.hierarchical import HierarchicalVAE  # noqa: F401 - a model that is found by its base
from pyrovae.models import LatentVariableModel
from pyrovae.objectives import Objective, Weighting
from pyrovae.semi_supervised import SemiSupervisedVAE  # noqa: F401 - a model that is found by its base

BASES: dict[str, type] = {
    "model": LatentVariableModel,
    "prior": priors.Prior,
    "likelihood": likelihoods.Likelihood,
    "posterior": posteriors.Posterior,
    "encoder": networks.Encoder,
    "classifier": networks.Encoder,
    "decoder": networks.Decoder,
    "activation": torch.nn.Module,
    "objective": Objective,
    "optimizer": Optimizer,
    "scheduler": LRScheduler,
}
"""The base class of each slot of the command line."""

UNFIT = {"LBFGS", "SparseAdam", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler", "LocalPosterior"}
"""Classes that a training or a command line cannot use: they evaluate the loss more than once in a step, need sparse
gradients, take functions or other schedules as arguments, or are of some images alone."""

OURS = ("pyrovae.", "torch.", "pyro.")
"""Prefixes of class paths of trusted code."""


def part_names(slot: str) -> list[str]:
    """Names of the classes that a slot of the command line takes: "prior", "model", "optimizer" and so on."""
    return sorted({cls.__name__ for cls in part_classes(slot)})


def part_classes(slot: str) -> list[type]:
    """The public classes below a slot's base, in the base's own library."""
    found: list[type] = [BASES[slot]]
    for cls in found:
        below: list[type] = cls.__subclasses__()
        found += [sub for sub in below if sub not in found]
    home = f"{BASES[slot].__module__.partition('.')[0]}."
    return [c for c in found[1:] if _is_for_users(c, home)]


def _is_for_users(cls: type, home: str) -> bool:
    known = cls.__module__.startswith(home) and not cls.__name__.startswith("_") and cls.__name__ not in UNFIT
    at_home = getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls  # and can be imported
    return known and at_home and not inspect.isabstract(cls)


def arguments_of(cls: type) -> list[str]:
    """Arguments of a class that a user sets. The model or the trainer supplies the others."""
    supplied = {"self", "image_shape", "num_classes"}
    if not issubclass(cls, LatentVariableModel):
        supplied |= {"shapes", "encoder", "decoder", "params", "optimizer"}
    if issubclass(cls, networks.Decoder):
        supplied.add("channels")
    return [name for name in inspect.signature(cls).parameters if name not in supplied]


def explain(words: Sequence[str]) -> str | None:
    """The text of `--model.prior.help VampPrior`: the class's docstring, its arguments and their defaults.

    Args:
        words: The command line.

    Returns:
        The text, or None if nothing of ours was asked for.
    """
    for word, after in pairwise((*words, "")):
        option, _, value = word.partition("=")
        slot, _, asked = option.removeprefix("--").rpartition(".")
        kind, name = slot.rpartition(".")[2], value or after
        if asked != "help" or kind not in BASES:
            continue
        cls = next((cls for cls in part_classes(kind) if cls.__name__ == name.rpartition(".")[2]), None)
        # Other libraries' docstrings are written for a web page; their arguments are listed by the parser.
        if cls is not None and cls.__module__.startswith("pyrovae."):
            parameters, own = inspect.signature(cls).parameters, arguments_of(cls)
            chosen = ", ".join(_with_default(parameters[name]) for name in own)
            options = ", ".join(f"--{slot}.{name}" for name in own)
            how = f"\n\nOptions: {options}" if own else ""
            shared = f"\n\n{inspect.getdoc(Weighting)}" if "`Weighting`" in (cls.__doc__ or "") else ""
            return f"{cls.__name__}({chosen})\n\n{inspect.getdoc(cls) or ''}{shared}{how}"
    return None


def _with_default(parameter: inspect.Parameter) -> str:
    """An argument and its default, a class by its name."""
    default = parameter.default
    if default is inspect.Parameter.empty:
        return parameter.name
    return f"{parameter.name}={default.__name__ if isinstance(default, type) else repr(default)}"
