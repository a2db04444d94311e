"""The page: content, networks, their runtime and our scripts in one file of HTML."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from pyrovae.contracts import NotApplicable
from pyrovae.data import Split
from pyrovae.data.fixed import evenly_spaced
from pyrovae.explorer import content
from pyrovae.explorer.runtime import runtime_files
from pyrovae.export import export_networks
from pyrovae.program import command_line
from pyrovae.runs.loading import Run

MOST_BYTES = 8_000_000
"""Of a page, unless more is allowed: larger ones are slow to open on a telephone."""
FEWEST_IMAGES = 100
CHECKED = 64
"""Images by which the networks are held against torch."""
MODULES = ("bytes", "linear", "networks", "kernel", "picture", "plane", "pad", "main")
"""Our scripts, each after those that it imports."""


class TooLarge(ValueError):  # noqa: N818 - an answer as much as an error
    """The networks do not fit into a page."""


def page(
    run: Run,
    split_name: str = "test",
    *,
    images: int = 1500,
    posteriors: int = 6,
    most: int = MOST_BYTES,
    progress: Callable[[int], object] = lambda codes: None,
) -> str:
    """The HTML of the explorer of a run.

    Args:
        run: The run, on the CPU.
        split_name: Images whose codes are shown.
        images: How many of them, at most: as many as fit.
        posteriors: Images whose true posterior is computed, for a code of two dimensions.
        most: Bytes that the page may have.
        progress: Called with the number of codes decoded for the true posteriors since the last call.

    Raises:
        MissingLibrary: If a library of the export is not installed.
        NotApplicable: If the decoder cannot be exported, or codes have one dimension.
        TooLarge: If the networks do not fit.
    """
    whole, grey = run.split(split_name), run.data.split(split_name)
    if not len(whole):
        raise ValueError(f"the run's data have no {split_name} images: choose another --split")
    chosen = evenly_spaced(len(whole), images)
    codes = content.codes_of(run, whole.take(chosen))
    exported = export_networks(run.model, whole.take(chosen[:CHECKED]))
    if "decoder" not in exported.files:
        raise NotApplicable(f"the page needs the decoder, which cannot be exported: {exported.missing['decoder']}")
    runtime = runtime_files()
    draws, by_class = content.prior_draws(run)
    blobs = {"prior": draws.tobytes(), **exported.files, "runtime": runtime.script, "wasm": runtime.wasm}
    packed = {name: pack(blob) for name, blob in blobs.items()}
    left = most - sum(map(len, packed.values())) - len(script()) - 60_000
    shown = fitting_images(grey, chosen, codes.means.astype("float32"), left)
    if shown is None:
        networks = sum(len(packed[name]) for name in exported.files)
        raise TooLarge(
            f"the networks take {networks / 1e6:.1f} MB of the page, and beside the runtime there are "
            f"{(left + networks) / 1e6:.1f} MB for these and the images: allow a larger page (--most_mb), train a "
            f"smaller model, or take the networks alone ({command_line('export', run.path)})"
        )
    count, thumbnails, more = shown
    footer = f"Everything runs in this page; it asks nobody for anything. {runtime.notice}"
    facts = content.facts_of(run, codes.first(count), exported.facts, exported.missing, footer)
    found, values = content.truths(run, whole.take(chosen[:count]), posteriors, progress)
    facts |= {"thumbnails": thumbnails, "truths": found, "priorByClass": by_class}
    return assembled(run.path.resolve().name, facts, packed | more | {"truths": pack(values)}, runtime.licence)


def fitting_images(
    grey: Split, chosen: list[int], means: Any, left: int
) -> tuple[int, dict[str, int], dict[str, str]] | None:
    """As many images as fit, their sheet and their codes, or None if too few do."""
    count = len(chosen)
    while count >= min(FEWEST_IMAGES, len(chosen)):
        png, thumbnails = content.sheet(grey.take(chosen[:count]).images)
        packed = {"sheet": pack(png), "codes": pack(means[:count].tobytes())}
        if sum(map(len, packed.values())) + 12 * count <= left:
            return count, thumbnails, packed
        count //= 2
    return None


def pack(blob: bytes) -> str:
    """Bytes as text: gzip in base64, the same whenever it is made."""
    return base64.b64encode(gzip.compress(blob, 9, mtime=0)).decode()


def script() -> str:
    """Our modules as one: without their imports of each other."""
    web = files("pyrovae.explorer") / "web"
    parts = []
    for name in MODULES:
        text = (web / f"{name}.js").read_text(encoding="utf-8")
        text = re.sub(r'^import [^;]* from "\./\w+\.js";\n', "", text, flags=re.MULTILINE)
        parts.append(re.sub(r"^export ", "", text, flags=re.MULTILINE))
    return "\n".join(parts)


def assembled(title: str, facts: dict[str, Any], packed: dict[str, str], licence: str) -> str:
    """The template with all its places filled."""
    web = files("pyrovae.explorer") / "web"
    blobs = "\n".join(f'<script type="text/plain" id="blob-{name}">{text}</script>' for name, text in packed.items())
    filled = {
        "title": html.escape(title),
        "style": (web / "style.css").read_text(encoding="utf-8"),
        "facts": json.dumps(facts, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "blobs": f"<!-- {licence.replace('--', '- -')} -->\n{blobs}",
        "script": script(),
    }
    template = (web / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda place: filled[place[1]], template)
