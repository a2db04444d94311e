"""YAML of settings, read in bounded time, whatever somebody wrote into it."""

from __future__ import annotations

from typing import Any

import yaml

LARGEST = 1_000_000
"""Characters of the longest text that is read."""
DEEPEST = 60
"""Levels of nesting that are read."""
MOST = 30_000
"""Values that are read, those that aliases repeat counted again."""


def parse_yaml(text: str) -> Any:
    """Read YAML of plain containers.

    Raises:
        ValueError: If it is none, in one line; or is too long, nested too deeply, repeated by aliases too often, or has
            a key twice.
    """
    if len(text) > LARGEST:
        raise ValueError(f"it has {len(text):,} characters, and settings have at most {LARGEST:,}")
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses keys that come twice and texts that grow when they are read."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0
        self._sizes: dict[int, int] = {}  # values below each node that is whole

    def compose_node(self, parent: Any, index: Any) -> Any:
        is_alias = self.check_event(yaml.AliasEvent)
        line = self.peek_event().start_mark.line + 1
        self._depth += 1
        before = self._count
        if self._depth > DEEPEST:
            raise ValueError(f"line {line} is nested more than {DEEPEST} levels deep")
        node = super().compose_node(parent, index)
        if is_alias and id(node) not in self._sizes:
            raise ValueError(f"line {line} holds itself")
        self._count += self._sizes[id(node)] if is_alias else 1
        if self._count > MOST:
            raise ValueError(f"up to line {line} it has more than {MOST:,} values")
        if not is_alias:
            self._sizes[id(node)] = self._count - before
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise ValueError(f"line {key.start_mark.line + 1} has the key {key.value!r} for the second time")
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)
