"""Which engine `auto` takes at which step: a function of counts, never of the clock, so that a run repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ENGINES = ("auto", "compiled", "graph", "pyro")
TIERS = ("pyro", "graph", "compiled")


@dataclass(frozen=True)
class Work:
    """What one step by Pyro amounts to.

    Attributes:
        calls: Python functions called for loss and gradients.
        operators: Tensor operations, those of the gradients and of the update too.
        flops: Floating-point operations of matrix products and convolutions.
        elements: Numbers that the operations return.
    """

    calls: int
    operators: int = 0
    flops: int = 0
    elements: int = 0

    # Seconds on one of today's cores, two of which were measured: what matters is that Python's share is known.

    @property
    def arithmetic(self) -> float:
        """Seconds that every engine needs."""
        return self.flops / 3e10 + self.elements * 0.5e-9

    @property
    def by_pyro(self) -> float:
        """Seconds of a step by Pyro."""
        return 3.5e-6 * self.calls + 3e-6 * self.operators + self.arithmetic

    @property
    def by_graph(self) -> float:
        """Seconds of a step by a graph."""
        return 5e-6 * self.operators + self.arithmetic

    @property
    def compiled(self) -> float:
        """Seconds of a compiled step."""
        return 1e-4 + 0.3e-6 * self.operators + 0.7 * self.arithmetic

    @property
    def to_trace(self) -> float:
        """Seconds to make a graph."""
        return 0.1 + 1e-3 * self.operators

    @property
    def to_compile(self) -> float:
        """Seconds to compile a graph, and a second one for a batch of another size."""
        return 8.0 + 0.05 * self.operators


LARGEST_COMPILED = 4_000
"""Operations beyond which `auto` does not compile: it would take minutes."""


def tier_for(
    taken: int, steps: int | None, work: Work | None, lacking: str | None, tiers: Mapping[str, int] | None
) -> tuple[str, str]:
    """The engine for the next step, and why.

    Args:
        taken: Steps taken so far.
        steps: Steps of the whole run, if known.
        work: Of one step, once it is known.
        lacking: What is lacking for compiled graphs on this machine, or None.
        tiers: The caller's own numbers of steps after which an engine takes over, by its name.
    """
    if tiers is not None:
        names = [name for name in TIERS if name == "pyro" or tiers.get(name, taken + 1) <= taken]
        name = "graph" if names[-1] == "compiled" and lacking else names[-1]
        return name, "the caller says at which step"
    if work is None:
        return "pyro", "the first steps show what is to be traced"
    # How long a run is that has no stated length: as long again as it has been.
    remaining = steps - taken if steps is not None else taken
    seen = f"{work.calls:,} Python calls and {work.operators:,} operations a step"
    run = f"{steps:,} steps" if steps is not None else f"{taken:,} steps taken"
    saved = {"graph": work.by_pyro - work.by_graph, "compiled": work.by_pyro - work.compiled}
    cost = {"graph": work.to_trace, "compiled": work.to_compile}
    note = ""
    if lacking:
        note = f" ({lacking})"
    elif work.operators > LARGEST_COMPILED:
        note = f" (more than {LARGEST_COMPILED:,} operations take minutes to compile)"
    for name in ("compiled", "graph"):
        if name == "compiled" and note:
            continue
        if saved[name] > 0.1 * work.by_pyro and remaining * saved[name] > cost[name]:
            return name, f"over {run} of {seen} it saves more than the {cost[name]:.1f} s or so of building it{note}"
    if saved["graph"] <= 0.1 * work.by_pyro:
        return "pyro", f"a graph of {seen} would not be faster{note}"
    return "pyro", f"over {run} of {seen} a graph saves less than building it takes{note}"
