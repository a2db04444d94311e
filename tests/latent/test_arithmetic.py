"""Attribute vectors against known means, and their effects on a decoder whose pictures are known."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from pyrovae import CVAE, VAE
from pyrovae.data import ImageSet, Split
from pyrovae.latent import (
    Codes,
    attribute_effect,
    attribute_vector,
    encode,
    extremes,
    find_attribute,
    interpolate,
    mean_codes,
    move_along,
    traverse,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def codes_of(means: np.ndarray, labels: np.ndarray | None = None) -> Codes:
    labels = np.zeros(len(means), int) if labels is None else labels
    return Codes(means, np.full_like(means, 0.1), means, labels)


def test_the_vector_is_the_difference_of_the_means_with_its_standard_error(rng) -> None:
    has = rng.random(20_000) < 0.3
    truth, scales = np.array([2.0, 0.0, -1.0]), np.array([1.0, 3.0, 0.5])
    found = attribute_vector(codes_of(has[:, None] * truth + rng.normal(size=(20_000, 3)) * scales), has, name="smile")
    assert (np.abs(found.vector - truth) < 4 * found.errors).all()
    np.testing.assert_allclose(found.errors, scales * np.sqrt(1 / has.sum() + 1 / (~has).sum()), rtol=0.03)
    assert (found.with_count, found.without_count) == (has.sum(), (~has).sum())
    assert str(found).startswith("smile: (1.99")


def test_the_standard_error_is_the_scatter_over_samples(rng) -> None:
    draws = [attribute_vector(codes_of(rng.normal(size=(60, 2))), np.arange(60) < 20) for _ in range(400)]
    scatter = np.std([d.vector for d in draws], axis=0)
    np.testing.assert_allclose(np.mean([d.errors for d in draws], axis=0), scatter, rtol=0.15)


def test_a_vector_inside_of_classes_does_not_lead_from_class_to_class(rng) -> None:
    """Class 1 lies elsewhere and has the attribute more often; inside of a class the attribute is 0.5 along z[0]."""
    labels = rng.integers(0, 2, 40_000)
    has = rng.random(40_000) < np.where(labels == 1, 0.8, 0.2)
    means = rng.normal(size=(40_000, 2)) + has[:, None] * [0.5, 0.0] + labels[:, None] * [0.0, 4.0]
    plain = attribute_vector(codes_of(means, labels), has)
    inside = attribute_vector(codes_of(means, labels), has, within_classes=True)
    assert plain.vector[1] == pytest.approx(4 * (0.8 - 0.2), abs=0.1)
    assert (np.abs(inside.vector - [0.5, 0.0]) < 4 * inside.errors).all()


def test_extremes_are_the_ends(rng) -> None:
    values = np.append(rng.permutation(100.0 * np.arange(1, 101)), np.nan)
    large, small = extremes(values, 0.2)
    assert (large.sum(), small.sum()) == (20, 20)
    assert values[large].min() == 8100
    assert values[small].max() == 2000
    large, small = extremes(values)
    assert (large.sum(), small.sum()) == (50, 50)
    assert not large[-1]
    assert not small[-1]


def test_attributes_by_name(digits: ImageSet) -> None:
    split = digits.split("test")
    labels = split.labels.numpy()
    has, lacks = find_attribute("class:3-vs:5", split)
    assert (has == (labels == 3)).all()
    assert (lacks == (labels == 5)).all()
    has, lacks = find_attribute("class:3", split)
    assert (lacks == (labels != 3)).all()
    thick, thin = find_attribute("thickness", split, share=0.25)
    ink = split.images.float().mean((1, 2, 3)).numpy()
    assert ink[thick].mean() > ink[thin].mean()
    columns = torch.stack([split.labels > 4, split.labels == 0], 1)
    has, lacks = find_attribute("Zero", Split(split.images, split.labels, columns), ("Large", "Zero"))
    assert (has == (labels == 0)).all()
    assert (has != lacks).all()
    with pytest.raises(ValueError, match=r"attribute must be one of thickness, .*class:A-vs:B, got 'smile'"):
        find_attribute("smile", split)
    with pytest.raises(ValueError, match="class 12 has no images here"):
        find_attribute("class:12", split)
    with pytest.raises(ValueError, match=r"above 0 and at most 0\.5, got 0\.51"):
        find_attribute("class:3", split, share=0.51)


def test_a_move_decodes_z_plus_alpha_v(digits: ImageSet) -> None:
    model = CVAE(digits.image_shape, 10, 3)
    codes = encode(model, digits.split("test").take([0, 1]))
    vector = np.array([1.0, -2.0, 0.5])
    found = move_along(model, codes, vector, [-1.0, 0.0, 2.0])
    np.testing.assert_allclose(found.coordinates[1, 2], codes.means[1] + 2 * vector, rtol=1e-6)
    np.testing.assert_allclose(found.images, traverse(model, found.coordinates, codes.labels[:, None]).images)
    assert (found.labels[:, 0] == codes.labels).all()
    other = move_along(model, codes, vector, [0.0], labels=np.array([7, 7]))
    assert (other.labels == 7).all()


class Bars(nn.Module):
    """Decodes z to a grey level and a width: pixel means in a band of sigmoid shape."""

    score = "NLL"

    def forward(self, z: torch.Tensor, y: torch.Tensor | None = None):
        column = torch.arange(16.0)
        band = torch.sigmoid(8 * (z[:, :1] + 4 - (column - 7.5).abs()))
        return torch.distributions.Independent(
            torch.distributions.Normal(band[:, None, None].expand(-1, 1, 16, 16), 1.0), 3
        )


def test_an_effect_is_the_change_of_what_is_measured(rng) -> None:
    """z[0] widens a bar by two pixels a unit and z[1] does nothing; the effect says so, with errors that are small."""
    model = VAE((1, 16, 16), 2)
    model.likelihood = Bars()
    codes = codes_of(rng.normal(size=(200, 2)) * 0.3)
    wider = attribute_vector(codes, codes.means[:, 0] > 0, name="wide")
    half = copy.copy(wider)
    object.__setattr__(half, "vector", np.array([0.5, 0.0]))

    def ink(images: np.ndarray) -> dict[str, np.ndarray]:
        return {"wide": images.mean((1, 2)).sum(-1), "tall": np.full(len(images), 16.0) + images[:, 0, 0, 0]}

    found = attribute_effect(
        model, codes, half, [-1.0, 0.0, 1.0, 2.0], measures=ink, classifier=lambda x: x.mean((1, 2, 3)) > 0.6
    )
    changes, errors = found.of("wide").value, found.of("wide").sampling
    np.testing.assert_allclose(changes, [-1, 0, 1, 2], atol=0.05)
    assert (errors < 0.03).all()
    assert changes[1] == errors[1] == 0
    assert found.kept.value[1] == 1
    assert found.kept.value[3] < 1
    assert found.images == 200
    np.testing.assert_allclose(found.standardised.value[0] * found.scales[0], changes)
    assert "class kept" in str(found)
    with pytest.raises(ValueError, match="slant was not measured; there are wide, tall"):
        found.of("slant")


def test_a_walk_is_seen_by_the_encoder_and_leaves_the_model_alone(digits: ImageSet) -> None:
    model = VAE(digits.image_shape, 2)
    codes = encode(model, digits.split("test").take(range(30)))
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    vector = attribute_vector(codes, np.arange(30) < 10)
    found = attribute_effect(model, codes, vector, [0.0, 1.0])
    pictures = move_along(model, codes, vector.vector, [0.0, 1.0])
    seen = mean_codes(model, pictures.images.reshape(60, 1, 8, 8), np.repeat(codes.labels, 2)).reshape(30, 2, 2)
    way = (seen[:, 1] - seen[:, 0]) @ vector.vector / (vector.vector @ vector.vector)
    assert found.travelled.value[1] == pytest.approx(way.mean(), abs=1e-6)
    assert found.travelled.sampling[1] == pytest.approx(way.std(ddof=1) / np.sqrt(30), rel=1e-4)
    assert found.attributes == ("thickness", "slant", "length", "height", "width")
    assert np.isnan(found.kept.value).all()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


def test_interpolation_ends_are_the_images_own_codes(digits: ImageSet) -> None:
    codes = encode(VAE(digits.image_shape, 2), digits.split("test").take([3, 4]))
    for path in ("linear", "spherical", "quantile"):
        ends = interpolate(*codes.means, 5, path)[[0, -1]]
        np.testing.assert_array_equal(ends, codes.means.astype(np.float64))


def test_what_cannot_be_is_said(rng) -> None:
    codes = codes_of(rng.normal(size=(6, 2)))
    with pytest.raises(ValueError, match="needs images with and without smile, got 0 and 6"):
        attribute_vector(codes, np.zeros(6, bool), name="smile")
    with pytest.raises(ValueError, match="one entry for each of 6 codes, got 5"):
        attribute_vector(codes, np.zeros(5, bool))
    with pytest.raises(ValueError, match="no image can both have and lack attribute, and 6 do"):
        attribute_vector(codes, np.ones(6, bool), np.ones(6, bool))
    with pytest.raises(ValueError, match=r"at most 0\.5, got 0\.7"):
        extremes(np.arange(5.0), 0.7)
    vector = attribute_vector(codes, np.arange(6) < 3)
    with pytest.raises(ValueError, match="at least two images, got 1"):
        attribute_effect(VAE((1, 8, 8), 2), codes.take([0]), vector)
