"""Encoders and decoders: any size of image, with labels or without."""

from functools import partial

import pytest
import torch
from torch import nn

from pyrovae import SVI, VAE, Autoencoder, Trainer, load_images, networks
from pyrovae.runtime import frozen
from pyrovae.shapes import Shapes

ENCODERS = [
    networks.MLPEncoder,
    networks.GatedMLPEncoder,
    networks.ResidualMLPEncoder,
    networks.ConvEncoder,
    networks.FourLayerConvEncoder,
    networks.Denoising,
]
DECODERS = [
    networks.MLPDecoder,
    networks.GatedMLPDecoder,
    networks.ResidualMLPDecoder,
    networks.ConvDecoder,
    networks.FourLayerConvDecoder,
]
IMAGE_SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 9, 13), (3, 27, 16)]


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES, ids=str)
@pytest.mark.parametrize("num_classes", [0, 4])
@pytest.mark.parametrize("cls", ENCODERS)
def test_encoders_take_any_image(cls: type, image_shape: tuple[int, int, int], num_classes: int) -> None:
    encoder = cls(Shapes(image_shape, 3, num_classes))
    y = torch.tensor([0, 1, 2, 3, 0]) if num_classes else None
    assert encoder(torch.rand(5, *image_shape), y).shape == (5, encoder.out_features)


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES, ids=str)
@pytest.mark.parametrize("num_classes", [0, 4])
@pytest.mark.parametrize("cls", DECODERS)
def test_decoders_give_any_image(cls: type, image_shape: tuple[int, int, int], num_classes: int) -> None:
    decoder = cls(Shapes(image_shape, 3, num_classes), 2)
    y = torch.tensor([0, 1, 2, 3, 0]) if num_classes else None
    assert decoder(torch.randn(5, 3), y).shape == (5, 2, *image_shape[1:])
    z = torch.randn(6, 5, 3)
    assert decoder(z, y).shape == (6, 5, 2, *image_shape[1:])
    torch.testing.assert_close(decoder(z, y)[2], decoder(z[2], y))


@pytest.mark.parametrize("cls", DECODERS)
def test_a_decoder_takes_every_label_beside_the_same_codes(cls: type) -> None:
    """Labels (classes, 1) beside codes (B, latent_dim), as encoders take them."""
    decoder = cls(Shapes((1, 8, 8), 2, 3), 1)
    z, y = torch.randn(5, 2), torch.tensor([[0], [2]])
    found = decoder(z, y)
    assert found.shape == (2, 5, 1, 8, 8)
    torch.testing.assert_close(found[1], decoder(z, torch.full((5,), 2)))


@pytest.mark.parametrize("cls", ENCODERS)
def test_the_label_changes_what_an_encoder_sees(cls: type) -> None:
    encoder = cls(Shapes((1, 8, 8), 2, 3))
    x = torch.rand(1, 1, 8, 8)
    assert not torch.allclose(encoder(x, torch.tensor([0])), encoder(x, torch.tensor([1])))


def test_published_sizes() -> None:
    """The seeds' networks: 256 hidden units; 12,544 features of the four convolutions."""
    shapes = Shapes((1, 28, 28), 2)
    assert [p.shape[0] for p in networks.MLPEncoder(shapes).parameters()] == [256, 256]
    assert networks.FourLayerConvEncoder(shapes).out_features == 12544
    gated = networks.GatedMLPEncoder(shapes)
    assert [tuple(p.shape) for p in gated.parameters() if p.ndim == 2] == [(600, 784), (600, 300)]
    assert gated.out_features == 300


@pytest.mark.parametrize("cls", [networks.ConvEncoder, networks.ConvDecoder])
def test_images_too_small_are_refused_with_the_sizes_that_fit(cls: type) -> None:
    arguments = () if cls is networks.ConvEncoder else (1,)
    with pytest.raises(ValueError, match="need images of at least 8x8 pixels, got 4x9"):
        cls(Shapes((1, 4, 9), 2), *arguments)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda s: networks.MLPEncoder(s, hidden=()), "hidden must be one or more positive whole numbers"),
        (lambda s: networks.MLPDecoder(s, 1, hidden=(8, 0)), "hidden must be one or more positive whole numbers"),
        (lambda s: networks.GatedMLPEncoder(s, hidden=()), "hidden must be one or more positive whole numbers"),
        (lambda s: networks.GatedMLPDecoder(s, 1, hidden=(0,)), "hidden must be one or more positive whole numbers"),
        (lambda s: networks.ResidualMLPEncoder(s, width=0), "width must be one or more positive"),
        (lambda s: networks.ResidualMLPDecoder(s, 1, blocks=0), "blocks must be one or more positive"),
        (lambda s: networks.ConvEncoder(s, channels=(0,)), "channels must be one or more positive"),
        (lambda s: networks.FourLayerConvEncoder(s, channels=(8,)), "channels must be four numbers"),
        (lambda s: networks.Denoising(s, noise="rain"), "noise must be one of gaussian, masking, .* got 'rain'"),
        (lambda s: networks.Denoising(s, level=-1), "level of gaussian noise must be at least 0, got -1"),
        (lambda s: networks.Denoising(s, level=float("inf")), "level of gaussian noise must be at least 0, got inf"),
        (lambda s: networks.Denoising(s, noise="masking", level=1.5), "share of the pixels, from 0 to 1, got 1.5"),
        (lambda s: networks.Denoising(s, level="x"), "level of the noise must be a number, got 'x'"),
        (lambda s: networks.SeenEncoder(networks.Denoising(s), "mask"), "damage the mask too: choose missing='zeros'"),
        (lambda s: networks.FourLayerConvDecoder(s, 1, hidden=(8,)), "hidden must be two numbers"),
    ],
)
def test_wrong_sizes_are_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(Shapes((1, 28, 28), 2))


def test_depth_width_and_activation_are_free() -> None:
    encoder = networks.MLPEncoder(Shapes((1, 4, 4), 2), hidden=(7, 6, 5), activation=nn.Tanh)
    assert [type(m).__name__ for m in encoder.layers] == ["Linear", "Tanh"] * 3
    assert encoder.out_features == 5


def test_gated_layer_is_a_product() -> None:
    """(A h + a) * sigmoid(B h + b), A and B the halves of one matrix."""
    encoder = networks.GatedMLPEncoder(Shapes((1, 2, 2), 2), hidden=(3,))
    x = torch.rand(5, 1, 2, 2)
    weight, bias = encoder.layers[0].linear.weight, encoder.layers[0].linear.bias
    h = x.flatten(1)
    by_hand = (h @ weight[:3].T + bias[:3]) * torch.sigmoid(h @ weight[3:].T + bias[3:])
    torch.testing.assert_close(encoder(x), by_hand)


def test_residual_blocks_begin_with_the_identity() -> None:
    encoder = networks.ResidualMLPEncoder(Shapes((1, 2, 2), 2), width=6, blocks=3)
    with torch.no_grad():
        for block in encoder.layers[1:4]:
            block.layers[-1].weight.zero_()
            block.layers[-1].bias.zero_()
    x = torch.randn(5, 1, 2, 2)
    torch.testing.assert_close(encoder(x), encoder.layers[0](x.flatten(1)).relu())


@pytest.mark.parametrize("noise", ["gaussian", "masking", "salt_and_pepper"])
def test_noise_is_what_it_says(noise: str) -> None:
    """Moments and shares of the damaged pixels; level 0 damages none."""
    torch.manual_seed(0)
    shapes, x = Shapes((1, 50, 50), 2), torch.full((40, 1, 50, 50), 0.5)
    damaged = networks.Denoising(shapes, noise=noise, level=0.4).damaged(x)
    if noise == "gaussian":
        assert abs((damaged - x).mean()) < 5 * 0.4 / 316
        assert (damaged - x).std() == pytest.approx(0.4, rel=0.02)
    else:
        hit = damaged != x
        assert hit.float().mean() == pytest.approx(0.4, abs=5 * 0.49 / 316)
        white = 0.5 if noise == "salt_and_pepper" else 0.0
        assert damaged[hit].mean() == pytest.approx(white, abs=0.02)
        assert set(damaged[hit].unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(networks.Denoising(shapes, noise=noise, level=0).damaged(x), x)


def test_nothing_is_damaged_in_evaluation() -> None:
    encoder = networks.Denoising(Shapes((1, 8, 8), 2), lambda shapes: networks.MLPEncoder(shapes, (7,)))
    x = torch.rand(5, 1, 8, 8)
    assert not torch.equal(encoder(x), encoder(x))
    encoder.eval()
    assert torch.equal(encoder(x), encoder.network(x))
    assert encoder.out_features == 7


def test_a_denoising_autoencoder_repairs_images() -> None:
    """Trained on damaged images it reconstructs clean ones from them better than a plain one does."""
    digits = load_images("digits")
    x = (digits.split("test").images / 255).round()
    left = []
    for encoder in (networks.MLPEncoder, partial(networks.Denoising, noise="masking", level=0.4)):
        torch.manual_seed(0)
        model = Autoencoder(digits.image_shape, 16, encoder=encoder)
        Trainer(epochs=20, pixels="threshold", engine="graph").fit(model, digits, progress=False)
        with frozen(model):
            damaged = networks.Denoising(model.shapes, noise="masking", level=0.4).damaged(x)
            codes = model.posterior(damaged).mean
            left.append(-model.likelihood(codes).log_prob(x).mean().item())
    assert left[1] < 0.95 * left[0]


def test_a_denoising_vae_is_the_same_on_a_graph_and_takes_turns_with_evaluation() -> None:
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    losses = []
    for engine in ("pyro", "graph"):
        torch.manual_seed(0)
        model = VAE((1, 8, 8), encoder=partial(networks.Denoising, noise="salt_and_pepper"))
        svi = SVI(model.model, model.guide, torch.optim.SGD(model.parameters(), 1e-3), engine=engine)
        torch.manual_seed(1)
        found = []
        for _ in range(4):
            found.append(svi.step(x))
            with frozen(model):
                found.append(float(model.posterior(x).mean.sum()))
        losses.append(found)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_decoder_of_angles_closes_the_circle() -> None:
    decoder = networks.OnTorus(networks.MLPDecoder(Shapes((1, 4, 4), 4), 1))
    z = torch.randn(5, 2)
    torch.testing.assert_close(decoder(z), decoder(z + 2 * torch.pi), rtol=1e-4, atol=1e-5)
