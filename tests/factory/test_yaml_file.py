"""YAML of settings: what is no YAML, grows or repeats itself ends in one line, soon."""

import math
import random
import time

import pytest
import yaml

from pyrovae.factory.yaml_file import parse_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 30,000 values"),
        ("a: &a [*a]", "line 1 holds itself"),
        ("&a {x: {y: *a}}", "line 1 holds itself"),
        ("a: " + "[" * 100_000, "line 1 is nested more than 60 levels deep"),
        ("".join(" " * i + "a:\n" for i in range(500)), "line 60 is nested more than 60 levels deep"),
        ("a: 1\nb: 2\na: 3\n", "line 3 has the key 'a' for the second time"),
        ("a: {b: 1, b: 1}\n", "line 1 has the key 'b' for the second time"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: \0", "unacceptable character"),
        ("a: [1, 2", "expected ',' or ']'"),
        ("? [a, b]\n: 1", "unhashable type"),
        ("a: " + "9" * 5000, "Exceeds the limit"),
        ("a: 2026-13-45", "month must be in 1..12"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("x" * 1_000_001, "1,000,001 characters"),
        ("".join(f"k{i}: 1\n" for i in range(20_000)), "more than 30,000 values"),
    ],
    ids=lambda text: text[:20].encode("unicode_escape").decode(),
)
def test_what_is_refused_is_refused_in_one_line_and_soon(text: str, message: str) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match=message.replace("[", r"\[").replace("]", r"\]")) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)
    assert time.process_time() - began < 20


def test_what_is_written_is_read() -> None:
    """Generated settings come back as they are, aliases too."""
    draw = random.Random(3)

    def value(depth: int) -> object:
        kinds = (
            [None, True, 3, -1.5, "x y", "1e-3", math.inf, ""] if depth > 3 else ["list", "dict"] * 2 + [0.1, "é\n:"]
        )
        kind = draw.choice(kinds)
        if kind == "list":
            return [value(depth + 1) for _ in range(draw.randrange(4))]
        return {f"k{i}": value(depth + 1) for i in range(draw.randrange(4))} if kind == "dict" else kind

    for _ in range(50):
        shared = value(2)
        content = {"one": shared, "other": [shared, value(0)]}
        assert parse_yaml(yaml.safe_dump(content)) == content
