"""Take the runtime from its npm package into this one: python -m pyrovae.explorer.runtime.update VERSION INTEGRITY.

The integrity is what npm itself shows: `npm view onnxruntime-web@VERSION dist.integrity`.
"""

import base64
import hashlib
import json
import lzma
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "onnxruntime-web"
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"


def update(version: str, integrity: str, folder: Path) -> None:
    """Fetch a version, hold it against its digest, and write what the page needs of it.

    Args:
        version: Exact version of the npm package.
        integrity: Digest of its archive, "sha512-" and base64.
        folder: Where the files go.

    Raises:
        ValueError: If the archive is another.
    """
    with tempfile.TemporaryDirectory() as place:
        command = ["npm", "pack", "--silent", f"{PACKAGE}@{version}"]
        name = subprocess.run(command, cwd=place, check=True, capture_output=True, text=True).stdout.split()[-1]
        archive = Path(place) / name
        found = f"sha512-{base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()}"
        if found != integrity:
            raise ValueError(f"{name} has the digest {found}, expected {integrity}")
        with tarfile.open(archive) as content:
            files = {
                name: content.extractfile(f"package/dist/{name}").read()  # type: ignore[union-attr]
                for name in (SCRIPT, WASM)
            }
    for name, bytes_ in files.items():
        (folder / f"{name}.xz").write_bytes(lzma.compress(bytes_, preset=9 | lzma.PRESET_EXTREME))
    facts = {
        "name": "ONNX Runtime Web",
        "version": version,
        "licence": "MIT",
        "integrity": integrity,
        "script": SCRIPT,
        "wasm": WASM,
        "sha256": {name: hashlib.sha256(bytes_).hexdigest() for name, bytes_ in files.items()},
    }
    (folder / "runtime.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    update(sys.argv[1], sys.argv[2], Path(__file__).parent)
