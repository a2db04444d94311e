"""Pictures of fixed results against reference pictures that were looked at.

After a wanted change, remake them with `python -m tests.plots.test_reference` in the repository's folder, and look at
each. A picture differs if its pixels do by more than 6 of 255 in the root of the mean square: fonts that are hinted
otherwise pass; a moved, missing or recoloured thing does not.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images

from pyrovae.estimates import Estimates
from pyrovae.latent import AttributeEffect, Codes, Manifold, Marginals, Traversal, ellipse
from pyrovae.metrics.rate_distortion import RateDistortion
from pyrovae.plots import (
    new_figure,
    plot_codes,
    plot_effect,
    plot_ellipses,
    plot_manifold,
    plot_marginals,
    plot_moved,
    plot_panels,
    plot_rate_distortion,
    plot_traversal,
)

FOLDER = Path(__file__).parent / "reference"
TOLERANCE = 6.0


def blobs(rows: int, columns: int) -> np.ndarray:
    """Pictures of discs that grow to the right and move down."""
    y, x = np.mgrid[:12, :12] - 5.5
    discs = [[np.hypot(x, y + 2 - i) < 1 + j for j in range(columns)] for i in range(rows)]
    return np.array(discs, dtype=float)[:, :, None]


def codes(spread: float = 1.0) -> Codes:
    z = np.random.default_rng(0).normal(size=(300, 2)) * spread
    labels = np.arange(300) % 12
    z = z + 2 * np.stack([np.cos(labels), np.sin(labels)], 1)
    return Codes(z, np.full_like(z, 0.1), z, labels)


def draw_codes() -> Figure:
    figure, (ax,) = new_figure(4.5, 3.5)
    plot_codes(codes(), [f"class {k}" for k in range(12)], ax)
    return figure


def draw_ellipses() -> Figure:
    figure, (ax,) = new_figure(4.5, 3.5)
    shape = np.array([[1.0, 0.6], [0.6, 0.8]])
    places = {0: (0.0, 0.0), 3: (0.1, 0.1), 7: (2.5, -1.0)}
    nested = {k: [ellipse(np.array(at), shape, mass) for mass in (0.5, 0.9)] for k, at in places.items()}
    prior = [ellipse(np.zeros(2), np.eye(2), mass) for mass in (0.5, 0.9)]
    plot_ellipses(nested, [str(k) for k in range(10)], ax, prior=prior)
    return figure


def draw_panels() -> Figure:
    figure, axes = new_figure(7, 2.9, columns=2)
    prior = [ellipse(np.zeros(2), np.eye(2), 0.95)]
    names = [str(k) for k in range(12)]
    plot_panels({"wide": codes(2.0), "narrow": codes(0.2)}, names, axes, limit=4.0, prior=prior)
    return figure


def draw_moves() -> Figure:
    figure, (ax,) = new_figure(3.5, 2.4)
    walk = Traversal(blobs(3, 5), np.zeros((3, 5, 2)), None)
    plot_moved(walk, [-2, -1, 0, 1, 2], ax, ["seven", "two", "one"])
    return figure


def draw_effect() -> Figure:
    alphas = np.array([-1.0, 0.0, 1.0, 2.0])
    changes = np.stack([10 * alphas, 0.1 * alphas**2])
    found = AttributeEffect(
        "slant",
        alphas,
        50,
        ("slant", "height"),
        changes=Estimates(changes, 0.1 * np.abs(changes)),
        travelled=Estimates(0.8 * alphas, 0.05 * np.abs(alphas)),
        scales=np.array([8.0, 2.0]),
        kept=Estimates(1 - 0.1 * np.abs(alphas), 0.03 * np.abs(alphas)),
    )
    figure, axes = new_figure(9, 3, columns=3)
    plot_effect(found, axes)
    return figure


def draw_marginals() -> Figure:
    points = np.broadcast_to(np.linspace(-4, 4, 201), (2, 2, 201))
    prior = np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi)
    centres, widths = np.array([[[-1.0], [0.5]], [[2.0], [0.0]]]), np.array([[[0.2], [1.0]], [[0.1], [0.5]]])
    posterior = np.exp(-(((points - centres) / widths) ** 2) / 2) / widths / np.sqrt(2 * np.pi)
    kl = (centres**2 + widths**2 - 1)[..., 0] / 2 - np.log(widths[..., 0])
    found = Marginals(blobs(2, 1)[:, 0], np.array([0, 6]), np.array([0, 3]), points, posterior, prior, kl, True)
    figure, axes = new_figure(4.2, 2.2, columns=3, rows=2)
    plot_marginals(found, [str(k) for k in range(10)], axes)
    return figure


def draw_rate_distortion() -> Figure:
    betas = np.array([0.1, 1.0, 4.0, 20.0])
    rates, distortions = np.array([12.0, 6.0, 0.02, 0.01]), np.array([80.0, 85.0, 110.0, 110.2])
    one = np.ones(4)
    parts = Estimates(rates, 0.3 * one), Estimates(distortions, 1.5 * one)
    found = RateDistortion("NLL", 100, betas, *parts, one, one, one)
    figure, (ax,) = new_figure(4.5, 3.2)
    plot_rate_distortion(found, ax)
    return figure


def draw_grids() -> Figure:
    figure, (left, right) = new_figure(6.5, 3, columns=2)
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 4), np.linspace(1.5, -1.5, 4))
    plot_manifold(Manifold(blobs(4, 4), np.stack([x, y], -1), None), left)
    plot_traversal(Traversal(blobs(4, 4), np.stack([x, y], -1), None), right)
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "codes": draw_codes,
    "ellipses": draw_ellipses,
    "panels": draw_panels,
    "moves": draw_moves,
    "effect": draw_effect,
    "marginals": draw_marginals,
    "rate_distortion": draw_rate_distortion,
    "grids": draw_grids,
}


def save(name: str, folder: Path) -> Path:
    path = folder / f"{name}.png"
    PICTURES[name]().savefig(path, dpi=60, facecolor="white", metadata={"Software": None})
    return path


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_as_it_was(name: str, tmp_path: Path) -> None:
    different = compare_images(str(FOLDER / f"{name}.png"), str(save(name, tmp_path)), tol=TOLERANCE)
    assert different is None, different


def test_a_recoloured_or_moved_picture_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.plots.planes.class_styles", lambda *_: [("red", "o")] * 12)
    assert compare_images(str(FOLDER / "codes.png"), str(save("codes", tmp_path)), tol=TOLERANCE) is not None


def test_the_reference_pictures_are_few_and_small() -> None:
    files = sorted(FOLDER.glob("*.png"))
    assert [path.stem for path in files] == sorted(PICTURES)
    assert sum(path.stat().st_size for path in files) < 200_000


if __name__ == "__main__":
    for picture in PICTURES:
        print(save(picture, FOLDER))
