"""Pages that are made from the code and the measurements: parts, the API, copies of the notebooks."""

import inspect
import json
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent
KINDS = {"prior": "priors", "likelihood": "likelihoods", "posterior": "posteriors", "objective": "objectives"}
PACKAGES = {
    "data": "data",
    "models": "models",
    "semi_supervised": "few labels",
    "hierarchical": "two layers of codes",
    "priors": "priors",
    "likelihoods": "likelihoods",
    "posteriors": "posteriors",
    "networks": "networks",
    "objectives": "objectives",
    "contracts": "contracts of the parts",
    "training": "training",
    "inference": "inference",
    "latent": "the latent space",
    "diagnostics": "diagnostics",
    "metrics": "metrics",
    "plots": "plots",
    "runs": "runs",
    "export": "export",
    "explorer": "the explorer",
    "engine": "the engine",
    "engine.posterior": "posteriors of any program",
    "distributions": "distributions",
    "estimates": "estimates",
    "shapes": "shapes",
}
"""Public packages and modules, each a page of the API."""
UNITS = {
    "probability of black and white pixels": "black and white pixels",
    "density of grey values in [0, 1]": "density of grey values",
    "probability of 256 grey levels": "256 grey levels",
}


def table_of_parts() -> dict[tuple[str, str], str]:
    """When each part is used, by its kind and name, as `parts.md` says."""
    found, kind = {}, ""
    for line in (DOCS / "parts.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            kind = line[3:].partition(",")[0].lower().removesuffix("s")
        elif len(cells) == 3 and cells[0].startswith("`"):
            found |= {(kind, name): cells[2] for name in re.findall(r"`(\w+)`", cells[0])}
    return found


def parts() -> Iterator[tuple[str, str]]:
    """Kind and name of each part that has a page."""
    for kind, package in KINDS.items():
        for name in import_module(f"pyrovae.{package}").__all__:
            if (kind, name) in table_of_parts():
                yield kind, name


def _rst_table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["", ".. list-table::", "   :header-rows: 1", ""]
    for row in [header, *rows]:
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return [*lines, ""]


def _measured(kind: str, name: str, file: str) -> list[dict[str, Any]]:
    """The rows of a measurement that are of a part: "prior Flow, maf" is one of the prior Flow."""
    rows = json.loads((ROOT / "benchmarks" / "results" / file).read_text(encoding="utf-8"))
    pattern = re.compile(rf"(?:^|\+ ){kind} {name}(?:$|,| \+)")
    default = name in ("StandardNormal", "Bernoulli", "DiagonalNormal")
    return [row for row in rows if pattern.search(row["row"]) or (default and row["row"].startswith("StandardNormal,"))]


def _cost(kind: str, name: str) -> list[str]:
    rows = _measured(kind, name, "part_speed.json")
    lines = ["", "Cost", "----", ""]
    if not rows:
        usual = name in ("StandardNormal", "Bernoulli", "DiagonalNormal", "TraceELBO")
        return [*lines, "It is the default, to which all others are compared." if usual else "Not measured."]
    lines.append(
        "The time of a training step over that of the default parts (784-256-2, batch 128, one thread of the CPU; "
        "``python benchmarks/part_speed.py``)."
    )
    names = list(dict.fromkeys(row["row"] for row in rows))
    ratio = {(row["row"], row["engine"]): f"{row['ratio']:.2f}" for row in rows}
    cells = [[each, *(ratio.get((each, engine), "") for engine in ("graph", "compiled"))] for each in names]
    return [*lines, *_rst_table(["part", "graph engine", "compiled engine"], cells)]


def _bound(kind: str, name: str) -> list[str]:
    rows = _measured(kind, name, "part_bounds.json")
    lines = ["", "Measured bound", "--------------", ""]
    if not rows:
        return [*lines, "Not measured at the budget of :doc:`/measured`."]
    lines.append(
        "On MNIST's test images, at a small fixed budget (:doc:`/measured`; ``python benchmarks/part_bounds.py``). "
        "Numbers of one kind of pixels alone can be compared."
    )
    cells = [
        [
            row["row"],
            UNITS[row["unit"]],
            str(row["seed"]),
            f"{row['negative_elbo']:.2f}",
            f"{row['negative_log_likelihood_of_first']:.2f}",
        ]
        for row in rows
    ]
    return [*lines, *_rst_table(["part", "pixels", "seed", "−ELBO, nats", "−log p(x), first 1,000, nats"], cells)]


def _part_page(kind: str, name: str, when: str) -> str:
    package = KINDS[kind]
    title = f"{name}, {'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    slot = "--objective" if kind == "objective" else f"--model.{kind}"
    command = f"pyrovae train {slot} {name}"
    if name in ("Delta", "Unscored"):
        command = "pyrovae train --model Autoencoder"
    module = inspect.getmodule(getattr(import_module(f"pyrovae.{package}"), name))
    file = f"{module.__name__.replace('.', '/')}.py" if module else ""
    lines = [title, "=" * len(title), "", f"**When:** {when.replace('`', '``')}.", "", ".. code-block:: sh", ""]
    lines += [f"   {command}", "", f"The code is in ``{file}``.", ""]
    lines += [f".. autoclass:: pyrovae.{package}.{name}", "   :members:", "   :show-inheritance:", ""]
    return "\n".join([*lines, *_cost(kind, name), *_bound(kind, name), ""])


def _api_page(name: str, title: str) -> str:
    module = import_module(f"pyrovae.{name}")
    heading = f"``pyrovae.{name}``: {title}"
    lines = [heading, "=" * len(heading), ""]
    own_pages = [part for kind, part in parts() if KINDS[kind] == name]
    lines += [f".. automodule:: pyrovae.{name}", "   :members:"]
    elsewhere = [*own_pages, *_described_elsewhere(name)]
    if elsewhere:
        lines.append(f"   :exclude-members: {', '.join(elsewhere)}")
    lines += ["   :member-order: groupwise", "", ""]
    if own_pages:
        kind = next(kind for kind, package in KINDS.items() if package == name)
        lines += ["Each of these has a page of its own:", ""]
        lines += [f"* :doc:`{part} </parts/{kind}-{part}>`" for part in own_pages]
    assert module.__doc__, f"pyrovae.{name} says nothing of itself"
    return "\n".join([*lines, ""])


def _described_elsewhere(package: str) -> list[str]:
    """What a package takes from another that has a page."""
    module = import_module(f"pyrovae.{package}")
    names = getattr(module, "__all__", ())
    homes = {name: getattr(getattr(module, name), "__module__", "") for name in names}
    others = [f"pyrovae.{other}" for other in PACKAGES if other != package and not package.startswith(other)]
    return [name for name, home in homes.items() if home in others]


def _root_page() -> str:
    """The names of `pyrovae` itself, each with its first sentence and a link to where it is described."""
    pyrovae = import_module("pyrovae")
    rows = []
    for name in pyrovae.__all__:
        value = getattr(pyrovae, name)
        home = _home(value, name)
        first = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
        rows.append([f":py:obj:`pyrovae.{name} <{home}>`", escaped(first)])
    lines = ["``pyrovae``: what is used most", "==============================", ""]
    return "\n".join([*lines, *_rst_table(["name", "what it is"], rows)])


def _home(value: object, name: str) -> str:
    """The public place where something is described."""
    for package in PACKAGES:
        module = import_module(f"pyrovae.{package}")
        names = getattr(module, "__all__", None) or [
            n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__
        ]
        if name in names and getattr(module, name, None) is value:
            return f"pyrovae.{package}.{name}"
    raise ValueError(f"pyrovae.{name} is described nowhere: add its module to PACKAGES")


def _write(path: Path, text: str) -> None:
    """Write what has changed alone, so that the next build need not read the rest."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def escaped(text: str) -> str:
    """Text of a docstring without the marks of reStructuredText that are mathematics here."""
    return re.sub(r"(?<!\\)([|*])", r"\\\1", text)


def _escape_docstring(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Bars and stars of formulas are neither substitutions nor emphasis."""
    del app, what, name, obj, options
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...", "..", ":")):
            lines[i] = escaped(line)


def _skip(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: Any) -> bool | None:
    """Leave out what a package takes from other libraries, such as matplotlib's Axes."""
    del app, what, name, skip, options
    module = getattr(obj, "__module__", None)
    return True if isinstance(module, str) and not module.startswith("pyrovae") else None


def generate(app: Sphinx) -> None:
    """Write all pages that are not written by hand, and remove those of things that are gone."""
    del app
    pages = {
        f"parts/{kind}-{name}.rst": _part_page(kind, name, when)
        for (kind, name), when in table_of_parts().items()
        if kind in KINDS
    }
    pages |= {f"api/pyrovae.{name}.rst": _api_page(name, title) for name, title in PACKAGES.items()}
    pages["api/pyrovae.rst"] = _root_page()
    for folder in ("parts", "api"):
        for old in (DOCS / folder).glob("*.rst"):
            if f"{folder}/{old.name}" not in pages:
                old.unlink()
    for name, text in pages.items():
        _write(DOCS / name, text)
    (DOCS / "notebooks").mkdir(exist_ok=True)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        copy = DOCS / "notebooks" / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)


def _list_new_pages(app: Sphinx, docname: str, source: list[str]) -> None:
    """A page that `index.md` does not name yet stands below the last of the how-tos."""
    del app
    if docname == "index":
        named = source[0].splitlines()
        new = [path.stem for path in sorted(DOCS.glob("*.md")) if path.stem not in (*named, "index")]
        source[0] = source[0].replace("\nnuts\n", "\n" + "\n".join(["nuts", *new]) + "\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Generate before Sphinx looks for pages."""
    app.connect("builder-inited", generate, priority=100)
    app.connect("autodoc-process-docstring", _escape_docstring, priority=400)
    app.connect("autodoc-skip-member", _skip)
    app.connect("source-read", _list_new_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
