"""What goes into a page: colours that differ for everybody, thumbnails, densities."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrovae.explorer import content
from pyrovae.explorer.page import pack, script

SEEN_BY = {
    "everybody": np.eye(3),
    "protanopes": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopes": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopes": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Matrices of linear RGB (G. Machado, M. Oliveira and L. Fernandes, 2009, severity 1)."""
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]])


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    shares = XYZ @ rgb / [0.95047, 1, 1.08883]
    f = np.where(shares > 216 / 24389, np.cbrt(shares), (24389 / 27 * shares + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("who", SEEN_BY)
@pytest.mark.parametrize("colours", [content.LIGHT, content.DARK], ids=["light", "dark"])
def test_colours_of_classes_differ(colours: tuple[str, ...], who: str) -> None:
    seen = [lab((np.array(SEEN_BY[who]) @ linear(colour)).clip(0, 1)) for colour in colours]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 14


def test_a_sheet_has_the_images_where_it_says() -> None:
    import io

    from PIL import Image

    images = torch.randint(0, 256, (50, 3, 20, 10), dtype=torch.uint8)
    png, where = content.sheet(images)
    assert where == {"columns": 40, "width": 10, "height": 20}
    whole = np.asarray(Image.open(io.BytesIO(png)))
    assert (whole[20:40, 90:100] == images[49].permute(1, 2, 0).numpy()).all()
    _, large = content.sheet(torch.zeros(2, 1, 64, 32, dtype=torch.uint8))
    assert (large["width"], large["height"]) == (14, 28)
    curves, where = content.sheet(torch.tensor([[0.0, 1.0, 0.0, 5.0]]).reshape(1, 1, 1, 4))
    assert where == {"columns": 40, "width": 28, "height": 20}
    assert np.asarray(Image.open(io.BytesIO(curves)))[:, :28].any(0).all()  # a curve without a break


def test_a_density_keeps_its_mass() -> None:
    at = np.linspace(-4, 4, 128)
    log_density = -0.5 * (at[:, None] ** 2 / 0.5 + at**2)
    shares, levels = content._density(log_density, np.array([-0.6931, -2.3026]))
    x = np.linspace(-4, 4, content.GRID)
    weights = shares / shares.sum()
    assert weights.sum(1) @ x**2 == pytest.approx(0.5, rel=0.02)
    assert weights.sum(0) @ x**2 == pytest.approx(1.0, rel=0.02)
    assert levels == pytest.approx([0.5, 0.1], rel=1e-2)


def test_images_of_all_classes_are_chosen() -> None:
    assert content._one_of_each([3, 3, 1, 3, 1, 2], 4) == [2, 5, 0, 4]
    assert content._one_of_each([], 4) == []


def test_our_scripts_are_one(tmp_path: Path) -> None:
    text = script()
    assert "import {" not in text
    assert not re.search(r"^export ", text, re.MULTILINE)
    assert "</script" not in text
    names = re.findall(r"^(?:const|let|class|(?:async )?function) (\w+)", text, re.MULTILINE)
    assert len(names) == len(set(names))
    assert pack(b"same") == pack(b"same")
    if shutil.which("node"):
        (tmp_path / "page.mjs").write_text(text)
        subprocess.run(["node", "--check", str(tmp_path / "page.mjs")], check=True)
