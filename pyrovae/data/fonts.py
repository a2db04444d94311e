"""A set of 62 classes rendered from the fonts of this machine: A to Z, a to z and 0 to 9, in hundreds of faces.

Each face is one scale and one baseline for all of its glyphs, so that "o" and "O" differ; each glyph is centred. Splits
are drawn by face: no face is in two of them. A face is left out if it

* lacks one of the glyphs (what it draws is what it draws for a character that does not exist),
* repeats another face, as the same Latin letters do in fonts for other scripts,
* holds symbols in the place of letters: few of its glyphs, cut out and brought to one size, are nearest to the median
  glyph of their class.

The same fonts give the same set. It is cached as a pack in the folder of the image sets.
"""

import string
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, features
from torch import Tensor
from tqdm import tqdm

from pyrovae.data.images import VALIDATION_SHARE, ImageSet, draw_splits
from pyrovae.data.pack_writer import Packing
from pyrovae.data.packed import load_pack
from pyrovae.data.rows import of_images
from pyrovae.digests import digest
from pyrovae.files import replace_text

CHARACTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits
FONT_SUFFIXES = (".otf", ".ttc", ".ttf")
SIDE, MARGIN = 28, 2
LEAST_FACES = 12
"""Faces without which there is no set."""
ALIKE = 0.01
"""Squared distance of two faces, in parts of their squared length, below which one repeats the other."""
LETTERS = 0.25
"""Share of its glyphs that must be nearest to the median glyph of their class; by chance 0.016 are."""
_FINER = 4
_RENDERER = 1
_NOWHERE = "\U0010fffe"
"""A character that does not exist."""
_FOLDERS = {
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
    "win32": ("C:/Windows/Fonts", "~/AppData/Local/Microsoft/Windows/Fonts"),
}
_ELSEWHERE = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/usr/share/texmf/fonts",
    "~/.fonts",
    "~/.local/share/fonts",
)


@dataclass(frozen=True)
class Face:
    """A face of a font.

    Args:
        path: The file.
        index: Its number in a collection.
    """

    path: Path
    index: int = 0

    def __str__(self) -> str:
        return f"{self.path}#{self.index}" if self.index else str(self.path)


def load_fonts(folder: str, root: Path, validation: float | int = VALIDATION_SHARE) -> ImageSet:
    """Loads the set, from the cache or rendered anew.

    Args:
        folder: A folder of fonts, or "auto" for those of this machine.
        root: The folder of the image sets, in which ``fonts`` is the cache.
        validation: Share or number of the training images kept for validation, in whole faces.

    Returns:
        The set, (62 faces, 1, 28, 28), a face after the other.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there are too few faces.
    """
    paths = find_fonts(folder)
    known = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    key = digest([_RENDERER, features.version("freetype2"), known]).removeprefix("sha256:")[:16]
    cached = root / "fonts" / key
    if not cached.exists():
        faces, images, how = render_faces(paths)
        _check_count(folder, len(faces), how)
        labels = torch.arange(len(CHARACTERS)).repeat(len(faces))
        rendered = ImageSet.from_arrays(images, labels, class_names=tuple(CHARACTERS), name="fonts")
        Packing(of_images(rendered), cached).run()
        replace_text(cached / "faces.txt", f"{how}\n" + "".join(f"{face}\n" for face in faces))
    packed = load_pack(cached)
    rows = torch.from_numpy(np.load(cached / "rows.npy")).argsort()
    each = len(CHARACTERS)
    if isinstance(validation, int):
        validation = -(-validation // each)
    splits = draw_splits(len(rows) // each, validation=validation)
    return ImageSet(
        name=f"fonts:{folder}",
        images=packed.images[rows],
        labels=packed.labels[rows],
        class_names=tuple(CHARACTERS),
        splits={name: (each * f[:, None] + torch.arange(each)).flatten() for name, f in splits.items()},
        source=(cached / "faces.txt").read_text(encoding="utf-8").partition("\n")[0],
    )


def find_fonts(folder: str) -> list[Path]:
    """Files of fonts in a folder, at any depth, or in the folders of this machine for "auto"; in order.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if folder != "auto" and not Path(folder).expanduser().is_dir():
        raise FileNotFoundError(
            f"{folder} must be a folder of fonts, or auto for those of this machine: check the path"
        )
    folders = _FOLDERS.get(sys.platform, _ELSEWHERE) if folder == "auto" else (folder,)
    found = (path for each in folders for path in Path(each).expanduser().rglob("*"))
    return sorted(path for path in found if path.suffix.lower() in FONT_SUFFIXES and path.is_file())


def render_faces(paths: Sequence[Path]) -> tuple[list[Face], Tensor, str]:
    """Renders every face of font files that has letters of its own.

    Args:
        paths: The files.

    Returns:
        The faces, their glyphs, uint8 (62 faces, 1, 28, 28), and a line that says how many were left out and why.
    """
    drawn = {face: render(face) for path in tqdm(paths, "rendering", leave=False, delay=2) for face in _faces(path)}
    complete = {face: glyphs for face, glyphs in drawn.items() if glyphs is not None}
    whole = list(complete)
    glyphs = np.stack(list(complete.values())) if whole else np.empty((0, len(CHARACTERS), SIDE, SIDE), np.uint8)
    letters = _letters(glyphs)
    own = _different(glyphs[letters])
    chosen = letters[own]
    why = {
        "lack a glyph": len(drawn) - len(whole),
        "hold symbols": len(whole) - len(letters),
        "repeat another": len(letters) - len(own),
    }
    how = f"{len(chosen)} faces of {len(drawn)}: " + ", ".join(f"{count} {what}" for what, count in why.items())
    images = torch.from_numpy(glyphs[chosen]).reshape(-1, 1, SIDE, SIDE)
    return [whole[i] for i in chosen], images, how


def render(face: Face) -> np.ndarray | None:
    """The glyphs of a face, uint8 (62, 28, 28), white on black; None if it lacks one or cannot be drawn."""
    try:
        font = ImageFont.truetype(face.path, 100, face.index, layout_engine=ImageFont.Layout.BASIC)
        boxes = np.array([font.getbbox(c, anchor="ls") for c in CHARACTERS])
        low, high = boxes[:, 1].min(), boxes[:, 3].max()
        inside = _FINER * (SIDE - 2 * MARGIN)
        size = 100 * inside / max(high - low, (boxes[:, 2] - boxes[:, 0]).max())
        font = ImageFont.truetype(face.path, size, face.index, layout_engine=ImageFont.Layout.BASIC)
        baseline = _FINER * SIDE / 2 - size / 100 * (low + high) / 2
        glyphs = [_draw(font, c, baseline) for c in (*CHARACTERS, _NOWHERE)]
    except (OSError, ValueError, OverflowError, ZeroDivisionError):  # bitmaps, empty glyphs, damaged files
        return None
    *own, nothing = glyphs
    lacks = any(not glyph.any() or np.array_equal(glyph, nothing) for glyph in own)
    return None if lacks else np.stack(own)


def _draw(font: ImageFont.FreeTypeFont, character: str, baseline: float) -> np.ndarray:
    canvas = Image.new("L", (_FINER * SIDE, _FINER * SIDE))
    left, _, right, _ = font.getbbox(character, anchor="ls")
    place = (_FINER * SIDE / 2 - (left + right) / 2, baseline)
    ImageDraw.Draw(canvas).text(place, character, 255, font, anchor="ls")
    return np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX))


def _faces(path: Path) -> Iterator[Face]:
    """The faces of a file: one, or those of a collection."""
    for index in range(64 if path.suffix.lower() == ".ttc" else 1):
        try:
            ImageFont.truetype(path, 10, index)
        except (OSError, ValueError):
            return
        yield Face(path, index)


def _letters(glyphs: np.ndarray) -> np.ndarray:
    """Numbers of the faces that hold letters and no symbols."""
    if not len(glyphs):
        return np.arange(0)
    flat = np.stack([[_cut_out(glyph) for glyph in face] for face in glyphs])
    medians = np.median(flat, axis=0)
    flat, medians = (x / np.linalg.norm(x, axis=-1, keepdims=True).clip(1e-9) for x in (flat, medians))
    right = (flat @ medians.T).argmax(2) == np.arange(len(CHARACTERS))
    return np.flatnonzero(right.mean(1) >= LETTERS)


def _cut_out(glyph: np.ndarray) -> np.ndarray:
    """A glyph without what is empty around it, 12 x 12 pixels as one vector."""
    box = Image.fromarray(glyph).getbbox()
    return np.asarray(Image.fromarray(glyph).resize((12, 12), Image.Resampling.BILINEAR, box), np.float32).ravel()


def _different(glyphs: np.ndarray) -> np.ndarray:
    """Numbers of the faces that repeat no earlier one."""
    flat = glyphs.reshape(len(glyphs), int(np.prod(glyphs.shape[1:]))).astype(np.float32) / 255
    products = flat @ flat.T
    length = products.diagonal()
    distance = length[:, None] + length - 2 * products
    kept: list[int] = []
    for i in range(len(flat)):
        if not kept or (distance[i, kept] > ALIKE * length[i]).all():
            kept.append(i)
    return np.array(kept, dtype=int)


def _check_count(folder: str, count: int, how: str) -> None:
    if count < LEAST_FACES:
        raise ValueError(
            f"fonts:{folder} must have at least {LEAST_FACES} faces with all of A to Z, a to z and 0 to 9, got {how}: "
            f"install more fonts, such as Debian's packages fonts-dejavu, fonts-liberation and fonts-lato"
        )
