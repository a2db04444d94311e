"""Imports run one way: a file imports only from rows above its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pyrovae"
ROWS = [
    {"engine"},
    {
        "shapes",
        "runtime",
        "files",
        "digests",
        "hints",
        "estimates",
        "memory",
        "lazy",
        "program",
        "lock",
        "child_processes",
    },
    {"data"},
    {"networks", "distributions"},
    {"contracts"},
    {"priors", "likelihoods", "posteriors"},
    {"models"},
    {"semi_supervised", "hierarchical"},
    {"checks"},
    {"objectives"},
    {"inference"},
    {"latent"},
    {"diagnostics"},
    {"metrics"},
    {"training"},
    {"export"},
    {"plots"},
    {"factory"},
    {"runs"},
    {"studies", "explorer"},
    {"cli"},
    {"__init__", "__main__"},
]
HOMES = {
    "matplotlib": {"plots"},
    "arviz": {"engine", "inference"},
    "jinja2": {"studies"},
    "jsonargparse": {"factory", "runs", "cli"},
    "anywidget": {"explorer"},
    "onnx": {"export"},
    "onnxruntime": {"export"},
    "onnxscript": {"export"},
    "distributed": {"runs"},
    "optuna": {"runs"},
    "torch._inductor": {"engine"},
    "torch._dynamo": {"engine"},
    "torch.fx": {"engine"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def row_of(room: str) -> int:
    return next(i for i, rooms in enumerate(ROWS) if room in rooms)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            found += [f"{module}.{alias.name}" for alias in node.names] if module == "pyrovae" else [module]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_from_rows_above(path: Path) -> None:
    room = room_of(path)
    for name in imports_of(path):
        if name.startswith("pyrovae."):
            other = name.split(".")[1]
            assert other == room or row_of(other) < row_of(room), f"{room} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_library_has_one_home(path: Path) -> None:
    for name in imports_of(path):
        for library, homes in HOMES.items():
            if name == library or name.startswith(f"{library}."):
                assert room_of(path) in homes, f"{name} belongs in {homes}"


def test_every_room_has_a_row() -> None:
    rooms = {room_of(path) for path in FILES}
    assert rooms <= set().union(*ROWS)


def test_scripts_are_a_docstring_and_one_call() -> None:
    for script in (PACKAGE.parent / "scripts").glob("*.py"):
        explained, *imports, call = ast.parse(script.read_text(encoding="utf-8")).body
        assert isinstance(explained, ast.Expr), f"{script.name} explains nothing"
        assert all(isinstance(node, ast.ImportFrom) for node in imports), f"{script.name} does more than to call"
        assert isinstance(call, ast.If)
        assert len(call.body) == 1, f"{script.name} calls more than one command"


def test_there_is_no_circle_of_imports_not_even_for_types() -> None:
    """Of all imports, those inside functions and under TYPE_CHECKING too."""
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES}
    graph = {name: {other for other in imports_of(path) if other in modules} for name, path in modules.items()}
    left = dict(graph)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"these import each other: {sorted(left)}"


MOST_LINES, LONG, MOST_LONG = 60, 40, 15
"""No function has more lines of code than the first, and fewer than the third have more than the second."""


def lengths_of_functions(path: Path) -> dict[str, int]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, functions):
            start, end = node.body[0].lineno, node.body[0].end_lineno or 0
            docstring = end - start + 1 if ast.get_docstring(node) else 0
            length = (node.end_lineno or 0) - node.lineno + 1 - docstring
            found[f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"] = length
    return found


def test_functions_are_short() -> None:
    lengths = {name: length for path in FILES for name, length in lengths_of_functions(path).items()}
    assert not {name: length for name, length in lengths.items() if length > MOST_LINES}
    long = {name: length for name, length in lengths.items() if length > LONG}
    assert len(long) < MOST_LONG, long


def test_private_modules_are_imported_by_the_engine_alone() -> None:
    for path in FILES:
        if room_of(path) != "engine":
            for name in imports_of(path):
                assert not any(part.startswith("_") and part != "__future__" for part in name.split(".")), (path, name)


def test_no_two_files_of_tests_have_one_name() -> None:
    """Pytest imports them as modules without packages, and the second would not be found."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
