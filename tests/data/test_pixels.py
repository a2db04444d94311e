"""The binarisation policies."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.data import PIXEL_POLICIES, ImageSet, choose_policy, fix_pixels, pixels, policy_of, to_unit


@pytest.fixture
def images():
    return torch.arange(256, dtype=torch.uint8).repeat(400).reshape(400, 1, 16, 16)


def expected_share(images):
    """Mean and standard error of the share of ones at each grey value, over the images."""
    p = images[0].double() / 255
    return p, (p * (1 - p) / len(images)).sqrt()


def test_to_unit(images):
    x = to_unit(images)
    assert x.dtype == torch.float32
    assert x.shape == images.shape
    assert torch.equal(x, torch.arange(256).float().div(255).reshape(16, 16).expand_as(x))


@pytest.mark.parametrize("policy", PIXEL_POLICIES)
def test_pixels_have_the_shape_and_type_of_x(images, policy):
    x = pixels(fix_pixels(images, "fixed") if policy == "fixed" else images, policy)
    assert x.dtype == torch.float32
    assert x.shape == images.shape
    if policy != "none":
        assert set(x.unique().tolist()) == {0.0, 1.0}


def test_dynamic_draws_each_grey_value_as_its_probability_anew_each_time(images):
    torch.manual_seed(0)
    first, second = pixels(images, "dynamic"), pixels(images, "dynamic")
    assert not torch.equal(first, second)
    share, error = expected_share(images)
    assert bool(((first.double().mean(0) - share).abs() <= 5 * error).all())
    torch.manual_seed(0)
    assert torch.equal(pixels(images, "dynamic"), first)


def test_threshold_and_none_draw_nothing(images):
    state = torch.get_rng_state()
    assert torch.equal(pixels(images, "threshold"), (images >= 128).float())
    assert torch.equal(pixels(images, "none"), to_unit(images))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("policy", ["fixed", "dynamic"])
def test_fixed_pixels_are_drawn_once_by_their_own_seed(images, policy):
    state = torch.get_rng_state()
    fixed = fix_pixels(images, policy, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert fixed.dtype == torch.uint8
    assert set(fixed.unique().tolist()) == {0, 255}
    assert torch.equal(fix_pixels(images, policy, seed=3), fixed)
    assert not torch.equal(fix_pixels(images, policy, seed=4), fixed)
    share, error = expected_share(images)
    assert bool(((to_unit(fixed).double().mean(0) - share).abs() <= 5 * error).all())


@pytest.mark.parametrize("policy", PIXEL_POLICIES)
def test_pixels_once_fixed_stay_so_under_their_policy(images, policy):
    fixed = fix_pixels(images, policy)
    if policy != "none":
        assert torch.equal(pixels(fixed, policy), to_unit(fixed))


def test_fixing_draws_nothing_where_nothing_is_to_be_drawn(images):
    assert fix_pixels(images, "none") is images
    assert torch.equal(fix_pixels(images, "threshold"), (images >= 128).to(torch.uint8) * 255)


def test_fixing_in_chunks_goes_through_every_image():
    many = torch.full((5, 1, 1024, 2048), 255, dtype=torch.uint8)
    assert torch.equal(fix_pixels(many, "fixed"), many)
    assert not fix_pixels(torch.zeros_like(many), "fixed").any()
    grey = fix_pixels(many // 2, "fixed")
    assert all(not torch.equal(grey[0], other) for other in grey[1:])
    assert len(fix_pixels(many[:0], "fixed")) == 0


def test_a_traced_graph_draws_anew(images):
    graph = make_fx(lambda batch: pixels(batch, "dynamic"))(images[:8])
    torch.manual_seed(0)
    eager = [pixels(images[8:16], "dynamic") for _ in range(2)]
    torch.manual_seed(0)
    assert torch.equal(graph(images[8:16]), eager[0])
    assert torch.equal(graph(images[8:16]), eager[1])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_fixed_pixels_are_the_same_on_every_device(images):
    fixed = fix_pixels(images.cuda(), "fixed")
    assert fixed.is_cuda
    assert torch.equal(fixed.cpu(), fix_pixels(images, "fixed"))
    assert pixels(images.cuda(), "dynamic").is_cuda


@pytest.mark.parametrize("function", [pixels, fix_pixels])
def test_an_unknown_policy_is_refused(images, function):
    with pytest.raises(ValueError, match="pixels must be one of dynamic, fixed, threshold, none, got 'dynamics'"):
        function(images, "dynamics")


@pytest.mark.parametrize("policy", ["dynamic", "fixed", "threshold"])
def test_floating_point_images_are_refused(images, policy):
    for function in (pixels, fix_pixels):
        with pytest.raises(ValueError, match=r"images must be uint8 with grey values 0 to 255, got torch\.float32"):
            function(to_unit(images), policy)


# -- the policy that suits images --------------------------------------------------------------------------------------


def drawings(seed: int) -> torch.Tensor:
    """White strokes on black, their edges grey."""
    generator = torch.Generator().manual_seed(seed)
    strokes = (torch.rand(50, 1, 8, 8, generator=generator) > 0.7).float() * 255
    return torch.nn.functional.avg_pool2d(strokes, 3, 1, 1).add(strokes).clamp(max=255).to(torch.uint8)


def photographs(seed: int, channels: int) -> torch.Tensor:
    """Smooth middling colours."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(50, channels, 2, 2, generator=generator) * 180 + 40
    return torch.nn.functional.interpolate(corners, 8, mode="bilinear").to(torch.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_drawings_are_drawn_black_or_white_and_photographs_are_not(seed: int) -> None:
    assert choose_policy(drawings(seed)) == "dynamic"
    assert choose_policy(drawings(seed).expand(-1, 3, -1, -1)) == "dynamic"  # grey, kept in three channels
    assert choose_policy(photographs(seed, 1)) == "none"
    assert choose_policy(photographs(seed, 3)) == "none"
    assert choose_policy(photographs(seed, 3), "threshold") == "threshold"


def test_the_embedded_digits_are_drawings(digits: ImageSet) -> None:
    assert policy_of(digits) == "dynamic"
    with pytest.raises(ValueError, match="pixels must be one of dynamic, fixed"):
        policy_of(digits, "x")
