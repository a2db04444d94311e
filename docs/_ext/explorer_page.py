"""The explorer of the gallery: a small VAE of the embedded digits, trained when the site is first built."""

import os
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "docs" / "_build" / "explorer"
RUN = FOLDER / "runs" / "digits-vae-2d"
PAGE = FOLDER / "site" / "explorer.html"
COMMANDS = [
    f"train --data digits --epochs 60 --engine graph --progress false --name {RUN.name} --overwrite true",
    f"explore {RUN} --images 400 --posteriors 2 --out {PAGE}",
]


def make(app: Sphinx, config: Config) -> None:
    """Train and write the page, unless it is there."""
    del app, config
    if PAGE.exists():
        return
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    for command in COMMANDS:
        words = [*command.split(), *(["--runs_dir", str(RUN.parent)] if command.startswith("train") else [])]
        subprocess.run(
            [sys.executable, "-m", "pyrovae", *words], check=True, env=environment, stdout=subprocess.DEVNULL
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Make it before Sphinx looks for what it copies."""
    app.connect("config-inited", make, priority=90)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
