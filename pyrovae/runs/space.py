"""The space of a search: options of a training, each with a range or a list of values.

model.latent_dim=int(2,50)   optimizer.lr=log(1e-4,1e-2)   model.prior=choice(StandardNormal,VampPrior)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pyrovae.factory.names import BASES, arguments_of, part_classes
from pyrovae.factory.old_names import renewed_words
from pyrovae.factory.parser import underscored
from pyrovae.hints import nearest

Kind = Literal["int", "logint", "float", "log", "choice"]
Value = int | float | str
FORMS = "int(2,50), int(2,50,4) in steps of 4, logint(8,512), float(0,1), log(1e-4,1e-2) or choice(a,b,c)"
"""What a range may be, in words."""
OTHER_DATA = ("data", "data_dir", "data_label", "data_labels", "data_scaling", "data_skip", "validation", "image_size")
SAME_IMAGES = (*OTHER_DATA, "pixels")
"""Options that decide what is measured: bounds of different ones cannot be compared."""
NO_SETTINGS = (
    "config",
    "name",
    "runs_dir",
    "overwrite",
    "resume",
    "progress",
    "tensorboard",
    "checkpoint_every",
    "device",
    "engine",
)
"""Options that decide where and how a run is trained, not what it is."""


@dataclass(frozen=True)
class Dimension:
    """An option of a search.

    Attributes:
        name: The option, without dashes.
        kind: int, float, the same by their logarithm (logint, log), or choice.
        low: The least value of a number.
        high: Its greatest.
        step: Distance of whole numbers.
        choices: The values of a choice, as they are written.
    """

    name: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    step: int = 1
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind == "choice":
            inside = ",".join(self.choices)
        else:
            inside = ",".join(map(_number, (self.low, self.high) + ((self.step,) if self.step > 1 else ())))
        return f"{self.name}={self.kind}({inside})"

    def samples(self) -> Sequence[Value]:
        """All choices; or the ends of a range and, between them, a value that is no round number."""
        if self.kind == "choice":
            return self.choices
        between = self.low + 0.618034 * (self.high - self.low)
        return [int(each) if self.kind.endswith("int") else each for each in (self.low, between, self.high)]


@dataclass(frozen=True)
class Space:
    """The options of a search, those that choose a class before those of its arguments."""

    dimensions: tuple[Dimension, ...]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Space:
        """The space that texts such as "optimizer.lr=log(1e-4,1e-2)" describe.

        Raises:
            ValueError: If one is no such text, a range is empty, or an option comes twice.
        """
        if not texts:
            raise ValueError("a search needs a space: give at least one --space, such as 'model.latent_dim=int(2,50)'")
        found = [parse_dimension(text) for text in texts]
        names = [each.name for each in found]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"space has the option {twice[0]} twice: give each once")
        return cls(tuple(sorted(found, key=lambda each: each.name.count("."))))

    def applies(self, dimension: Dimension, values: Mapping[str, Value]) -> bool:
        """Whether an option exists with these values of those before it: a class that was chosen may not take it."""
        slot, _, argument = dimension.name.rpartition(".")
        while slot:
            chosen = values.get(slot)
            if chosen is not None and not _takes(slot, str(chosen), argument):
                return False
            slot, _, argument = slot.rpartition(".")
        return True

    def words(self, values: Mapping[str, Value]) -> tuple[str, ...]:
        """Values as a command line."""
        given = [each.name for each in self.dimensions if each.name in values]
        return tuple(word for name in given for word in (f"--{name}", _written(values[name])))

    def corners(self) -> list[dict[str, Value]]:
        """Values that show whether a training takes them: the ends of all ranges, a value between them, each choice."""
        found = [self._with({}, place) for place in (0, 1, -1)]
        found += [self._with({d.name: c}, 0) for d in self.dimensions if d.kind == "choice" for c in d.choices[1:]]
        return [corner for i, corner in enumerate(found) if corner not in found[:i]]

    def unused(self) -> list[str]:
        """Options that no choice of a class takes."""
        corners = self.corners()
        return [each.name for each in self.dimensions if not any(each.name in corner for corner in corners)]

    def _with(self, fixed: Mapping[str, Value], place: int) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for each in self.dimensions:
            if self.applies(each, values):
                values[each.name] = fixed.get(each.name, each.samples()[place])
        return values


def parse_dimension(text: str) -> Dimension:
    """An option of a search from its text.

    >>> print(parse_dimension("optimizer.lr = log(1e-4, 1e-2)"))
    optimizer.lr=log(0.0001,0.01)

    Raises:
        ValueError: If it is none.
    """
    found = re.fullmatch(r"\s*(?:--)?([A-Za-z_][\w.-]*)\s*=\s*([A-Za-z]*)\s*\((.*)\)\s*", text, re.DOTALL)
    if found is None:
        raise ValueError(f"space must be OPTION=RANGE, where RANGE is {FORMS}, got {text!r:.100}")
    option, kind, inside = found.groups()
    kinds = get_args(Kind)
    if kind not in kinds:
        raise ValueError(f"space: there is no range {kind!r}{nearest(kind, kinds)}; a range is {FORMS}")
    name = renewed_words([underscored(f"--{option}")])[0].removeprefix("--")
    if name in SAME_IMAGES:
        raise ValueError(f"space must not hold {name}: bounds of other data or pixels cannot be compared")
    if name in NO_SETTINGS:
        raise ValueError(f"space must not hold {name}: it is no setting of a model or of its training")
    values = _divided(inside)
    if "" in values:
        raise ValueError(f"space: {name} has an empty value in ({inside:.60}): give each value between commas")
    return _choice(name, values) if kind == "choice" else _range(name, kind, values)


def _choice(name: str, values: list[str]) -> Dimension:
    if len(values) < 2:
        raise ValueError(f"space: the choice of {name} needs at least two values, got {', '.join(values)}")
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f"space: the choice of {name} has {twice[0]!r} twice: give each value once")
    return Dimension(name, "choice", choices=tuple(values))


def _range(name: str, kind: Any, values: list[str]) -> Dimension:
    most = 3 if kind == "int" else 2
    if not 2 <= len(values) <= most:
        also = " and perhaps a step" if most == 3 else ""
        raise ValueError(
            f"space: {kind} of {name} needs its least and its greatest value{also}, got {len(values)} values"
        )
    whole = kind.endswith("int")
    low, high, step = (_parsed(name, kind, value, whole) for value in (*values, "1")[:3])
    if not low < high:
        raise ValueError(
            f"space: the range of {name} is empty: its ends must be in order, got {values[0]} and {values[1]}"
        )
    if kind.startswith("log") and low <= 0:
        raise ValueError(f"space: {kind} of {name} must begin above 0, got {values[0]}: a logarithm has no other")
    if not 1 <= step <= high - low and kind == "int":
        raise ValueError(f"space: the step of {name} must be from 1 to {high - low:g}, got {values[2]}")
    return Dimension(name, kind, low, low + (high - low) // step * step if kind == "int" else high, int(step))


def _parsed(name: str, kind: str, text: str, whole: bool) -> float:
    """A finite number; a whole one if it must be."""
    try:
        number = float(int(text)) if whole else float(text)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or "_" in text or (whole and abs(number) > 2**53):
        what = "whole numbers" if whole else "numbers"
        raise ValueError(f"space: {kind} of {name} takes {what}, got {text!r:.60}")
    return number


def _divided(text: str) -> list[str]:
    """What stands between commas, but for those inside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[({") - (letter in "])}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if depth:
        raise ValueError(f"space: the brackets in ({text:.60}) do not match")
    return [part.strip() for part in parts]


def _takes(slot: str, chosen: str, argument: str) -> bool:
    """Whether the class of a slot takes an argument; of a class that is not known here nobody can say no."""
    kind = slot.rpartition(".")[2]
    if kind not in BASES:
        return True
    classes = [cls for cls in part_classes(kind) if cls.__name__ == chosen.rpartition(".")[2]]
    return not classes or argument in arguments_of(classes[0])


def _written(value: Value) -> str:
    return value if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    """A number as short as it can be without being another one."""
    return (
        str(value) if isinstance(value, int) else next(t for t in (f"{value:.12g}", repr(value)) if float(t) == value)
    )


def shown(value: Value | None) -> str:
    """A value in a table, with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
