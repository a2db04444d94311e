"""ONNX Runtime Web, which runs the networks inside of the page; see NOTICE for its version and its licence."""

import hashlib
import json
import lzma
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Runtime:
    """The runtime's files.

    Attributes:
        script: Its ES module.
        wasm: Its program.
        notice: Whose it is, in a line.
        licence: The text of its licence.
    """

    script: bytes
    wasm: bytes
    notice: str
    licence: str


def runtime_files() -> Runtime:
    """The runtime as it lies in the package.

    Raises:
        ValueError: If a file is not the one that was packed.
    """
    folder = files("pyrovae.explorer.runtime")
    facts = json.loads((folder / "runtime.json").read_text(encoding="utf-8"))
    found = {name: lzma.decompress((folder / f"{name}.xz").read_bytes()) for name in facts["sha256"]}
    for name, digest in facts["sha256"].items():
        if hashlib.sha256(found[name]).hexdigest() != digest:
            raise ValueError(f"{folder / name}.xz is damaged: install pyrovae anew")
    return Runtime(
        script=found[facts["script"]],
        wasm=found[facts["wasm"]],
        notice=f"{facts['name']} {facts['version']} ({facts['licence']} licence) runs the networks.",
        licence=(folder / "NOTICE").read_text(encoding="utf-8"),
    )
