"""The notebooks run from top to bottom, without an error or a warning, and are committed with their pictures."""

import itertools
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def words(notebook: NotebookNode, stream: str) -> str:
    """Everything that the cells wrote to a stream."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == stream)


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) == 7


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_without_a_warning(path: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(path.parent.parent), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(tmp_path))
    assert words(notebook, "stderr") == ""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_its_pictures(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run it from top to bottom"
    pictures = [output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    assert pictures
    assert words(notebook, "stderr") == ""
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_error_that_a_notebook_shows_was_raised(path: Path) -> None:
    """A cell that catches an error prints it; where the program has learned to do it, the cell shows nothing."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and "\nexcept " in cell.source:
            assert any(output.output_type == "stream" for output in cell.outputs), cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_to_look_at(path: Path) -> None:
    text = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    assert text[0].startswith("# ")
    assert sum("look at" in source.lower() for source in text) >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_the_public_interface(path: Path) -> None:
    code = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    private = [line for line in code.splitlines() if "pyrovae" in line and "._" in line.split("#")[0]]
    assert not private


def test_solutions_are_folded_away() -> None:
    """In the site by a tag, in JupyterLab by the metadata of the cell."""
    cells = nbformat.read(next(path for path in NOTEBOOKS if "exercises" in path.stem), as_version=4).cells
    for before, solution in itertools.pairwise(cells):
        if before.cell_type == "markdown" and before.source.startswith("## "):
            assert solution.metadata.tags == ["hide-cell"]
            assert solution.metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}
    assert sum(cell.cell_type == "markdown" and cell.source.startswith("<details>") for cell in cells) == 5
