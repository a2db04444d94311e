"""ArviZ objects: groups, dimensions, coordinates; netCDF there and back; and no diagnostics where they mean nothing."""

import builtins
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrovae import CVAE, VAE
from pyrovae.data import ImageSet, Split, fixed_split
from pyrovae.diagnostics.export import MissingArvizError, save_arviz, summary, to_arviz
from pyrovae.inference.classes import classify
from pyrovae.inference.draws import guide_draws
from pyrovae.inference.grid import quadrature_posterior
from pyrovae.inference.importance import importance_weighted
from pyrovae.inference.nuts import nuts_posterior
from pyrovae.likelihoods import CrossEntropy

GROUPS = {
    "posterior",
    "guide",
    "prior",
    "posterior_predictive",
    "guide_predictive",
    "prior_predictive",
    "log_likelihood",
    "observed_data",
    "constant_data",
    "sample_stats",
}


@pytest.fixture(scope="module")
def arviz() -> object:
    return pytest.importorskip("arviz")


@pytest.fixture
def two(few_digits: ImageSet) -> Split:
    return fixed_split(few_digits.split("validation"), "dynamic").take([3, 7])


def group(data: object, name: str) -> object:
    """A group as a dataset, whichever ArviZ."""
    found = data[name]
    return found.to_dataset() if type(found).__name__ == "DataTree" else found


def test_everything_has_its_place_and_comes_back(arviz, two: Split, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CVAE((1, 8, 8), 10, 2)
    draws = nuts_posterior(model, two, warmup=5, draws=30)
    data = to_arviz(
        model,
        two,
        draws,
        guide=guide_draws(model, two, 50),
        likelihood=importance_weighted(model, two, 10),
        classes=classify(model, two, 2),
        images=[3, 7],
        class_names=list("abcdefghij"),
        predictive=8,
    )
    save_arviz(data, tmp_path / "deep" / "run.nc")
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["run.nc"]
    for read in (data, arviz.from_netcdf(str(tmp_path / "deep" / "run.nc"))):
        assert {
            str(name).strip("/") for name in (read.children if hasattr(read, "children") else read.groups())
        } == GROUPS
        z = group(read, "posterior")["z"]
        assert z.dims == ("chain", "draw", "image", "latent")
        assert z.coords["image"].values.tolist() == [3, 7]
        np.testing.assert_array_equal(z.values, draws.z)
        x = group(read, "posterior_predictive")["x"]
        assert x.dims == ("chain", "draw", "image", "channel", "row", "column")
        assert x.shape == (1, 8, 2, 1, 8, 8)
        assert group(read, "prior")["z"].sel({"class": "c"}).dims == ("chain", "draw", "latent")
        assert group(read, "log_likelihood")["x"].shape == (1, 1, 2)
        np.testing.assert_array_equal(group(read, "observed_data")["x"].values * 255, two.images)
        shares = group(read, "constant_data")["class_probability"]
        assert shares.dims == ("image", "class")
        np.testing.assert_allclose(shares.sum("class"), 1)
        assert group(read, "sample_stats")["diverging"].shape == (4, 30)
        told, untold = summary(read), summary(read, "guide")
        assert any("r_hat" in name or "rhat" in name for name in told.columns)
        assert not any("hat" in name or "ess" in name or "mcse" in name for name in untold.columns)
        assert len(told) == len(untold) == 4
        np.testing.assert_allclose(told["mean"].astype(float), draws.mean.ravel(), atol=0.02)


def test_grey_pixels_and_grids(arviz, few_digits: ImageSet) -> None:
    split = fixed_split(few_digits.split("validation"), "none").take([3, 7])
    model = VAE((1, 8, 8), 2, likelihood=CrossEntropy)
    data = to_arviz(model, split, quadrature_posterior(model, split, 16).draws(40), predictive=5)
    assert "x_mean" in group(data, "posterior_predictive")
    assert group(data, "prior")["z"].dims == ("chain", "draw", "latent")
    assert not any("hat" in name for name in summary(data).columns)
    assert arviz.summary(group(data, "posterior")) is not None


def test_other_images_are_refused(arviz, two: Split) -> None:
    model = VAE((1, 8, 8), 2)
    with pytest.raises(ValueError, match="guide must be of the 2 images of the split, got 1"):
        to_arviz(model, two, guide_draws(model, two, 5), guide=guide_draws(model, two.take([0]), 5))


def test_without_arviz_one_line_says_the_cure(two: Split, monkeypatch) -> None:
    model = VAE((1, 8, 8), 2)
    draws = guide_draws(model, two, 5)
    original = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.partition(".")[0] == "arviz":
            raise ModuleNotFoundError("No module named 'arviz'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingArvizError, match="ArviZ is not installed: pip install arviz h5netcdf h5py"):
        to_arviz(model, two, draws)


def test_pyrovae_does_not_import_arviz() -> None:
    rooms = "pyrovae, pyrovae.inference, pyrovae.diagnostics"
    code = f"import sys, {rooms}; sys.exit('arviz' in sys.modules or 'xarray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
