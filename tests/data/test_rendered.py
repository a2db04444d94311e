"""Rendered sets: fonts split by face, and shapes whose factors are those that are seen."""

import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

import pyrovae
from pyrovae.data import load_images
from pyrovae.data.fonts import CHARACTERS, Face, find_fonts, render, render_faces
from pyrovae.data.shapes import FACTORS, SCALES, SHIFTS

OWN = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
"""Fonts that are there wherever the tests run: DejaVu, STIX and Computer Modern, some of them symbols."""


@pytest.fixture(scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> tuple[pyrovae.ImageSet, Path]:
    root = tmp_path_factory.mktemp("data")
    return load_images(f"fonts:{OWN}", root), root


def test_fonts_have_62_classes_and_no_face_is_in_two_splits(fonts) -> None:
    data, root = fonts
    assert data.class_names == tuple(CHARACTERS)
    assert len(CHARACTERS) == 62
    assert data.image_shape == (1, 28, 28)
    faces = [set((index // 62).tolist()) for index in data.splits.values()]
    assert all(len(index) % 62 == 0 for index in data.splits.values())
    assert not faces[0] & faces[1] | faces[0] & faces[2] | faces[1] & faces[2]
    assert len(set.union(*faces)) * 62 == len(data)
    assert data.labels.view(-1, 62)[0].tolist() == list(range(62))
    listed = next((root / "fonts").glob("*/faces.txt")).read_text().splitlines()[1:]
    assert len(listed) == len(data) // 62
    assert not any("Display" in face for face in listed)  # which has a few glyphs only


def test_symbols_and_repeated_faces_are_left_out(tmp_path: Path) -> None:
    for i, name in enumerate(("DejaVuSans", "DejaVuSans", "DejaVuSerif", "STIXNonUni", "DejaVuSansDisplay")):
        shutil.copy(OWN / f"{name}.ttf", tmp_path / f"{i}.ttf")
    (tmp_path / "5.ttf").write_bytes(b"no font at all")
    faces, images, how = render_faces(find_fonts(str(tmp_path)))
    assert [face.path.name for face in faces] == ["0.ttf", "2.ttf"], how
    assert len(images) == 2 * 62


def test_the_cache_gives_the_same_images_and_the_same_fonts_the_same_set(fonts, tmp_path: Path, monkeypatch) -> None:
    data, root = fonts
    anew = load_images(f"fonts:{OWN}", tmp_path)
    monkeypatch.setattr("pyrovae.data.fonts.render_faces", lambda paths: pytest.fail("it was rendered again"))
    cached = load_images(f"fonts:{OWN}", root)
    for other in (anew, cached):
        assert torch.equal(other.images, data.images)
        assert torch.equal(other.splits["test"], data.splits["test"])
    few = load_images(f"fonts:{OWN}", root, validation=100)
    assert len(few.splits["validation"]) == 124  # whole faces


def test_a_glyph_lies_in_the_middle_and_capitals_are_higher() -> None:
    glyphs = render(Face(OWN / "DejaVuSans.ttf")).astype(float)
    across = (glyphs.sum(1) * np.arange(28)).sum(1) / glyphs.sum((1, 2))
    assert np.abs(across - 13.5).max() < 3
    heights = {c: np.ptp(np.flatnonzero(glyphs[i].any(1))) for i, c in enumerate(CHARACTERS)}
    assert all(heights[c.upper()] > heights[c] for c in "acemnorsuvwxz")


def test_too_few_fonts_are_one_line(tmp_path: Path) -> None:
    shutil.copy(OWN / "DejaVuSans.ttf", tmp_path)
    with pytest.raises(ValueError, match=r"must have at least 12 faces .*, got 1 faces of 1: .*: install more fonts"):
        load_images(f"fonts:{tmp_path}", tmp_path)
    with pytest.raises(FileNotFoundError, match="must be a folder of fonts, or auto"):
        load_images("fonts:/no/such/folder", tmp_path)


def test_shapes_are_where_and_as_large_as_their_factors_say() -> None:
    data = load_images("shapes")
    assert len(data) == 3 * 5 * 12 * 13 * 13 == len(torch.unique(data.factors, dim=0))
    assert data.factor_names == FACTORS
    assert torch.equal(data.factors[:, 0].long(), data.labels)
    x = data.images[:, 0].double() / 255
    mass = x.sum((1, 2))
    places = torch.arange(32.0, dtype=torch.float64)
    right, down = (x.sum(1) * places).sum(1) / mass, (x.sum(2) * places).sum(1) / mass
    shape, scale, rotation, *shift = data.factors.T
    for seen, moved in ((right, shift[0]), (down, shift[1])):
        rest = seen - moved  # the middle of the shape itself, whatever its place
        for k in range(3):
            some = (shape == k) & (scale == SCALES[0]) & (rotation == 0)
            assert float(rest[some].std()) < 1e-9
    for k in range(3):  # an area grows with the square of the scale, and a turn leaves it
        area = mass[shape == k] / scale[shape == k].square()
        assert float(area.std() / area.mean()) < 0.03
    assert int(SHIFTS.max()) == 6
    assert not x[:, 0].any()  # no shape is cut off
    assert not x[:, :, -1].any()


def test_a_turned_shape_is_the_shape_turned_and_each_turn_is_another_picture() -> None:
    data = load_images("shapes")
    shape, scale, rotation, right, down = data.factors.T
    for k in range(3):
        some = (shape == k) & (scale == 1) & (right == 0) & (down == 0)
        turns = data.images[some][:, 0].double()[rotation[some].argsort()] / 255
        quarter = torch.rot90(turns[0], -1)
        torch.testing.assert_close(turns[3], quarter, rtol=0, atol=0.02)
        apart = torch.cdist(turns.flatten(1), turns.flatten(1)) + 1e9 * torch.eye(12)
        assert float(apart.min()) > 1


def test_packed_shapes_keep_their_factors(tmp_path: Path) -> None:
    whole = load_images("shapes")
    packed = pyrovae.pack("shapes", tmp_path / "p")
    rows = torch.from_numpy(np.load(tmp_path / "p" / "rows.npy"))
    assert packed.factor_names == FACTORS
    assert torch.equal(packed.factors, whole.factors[rows])
