"""How many kernels a step is on an H100, by the code that Inductor writes for it: more of them is worse fusion."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from fake_machine import Compilation, fake_machine

from pyrovae import CVAE, VAE, Trainer, networks, posteriors
from pyrovae.data import ImageSet

pytest.importorskip("triton", reason="Triton, without which Inductor writes no code for GPUs, is not installed")

from sm_90 import code_of, launches, pretended
from torch.utils._triton import has_triton

IMAGES = (1, 28, 28)


def burda() -> VAE:
    """Two layers of 200 units and 50 latent dimensions."""
    encoder, decoder = partial(networks.MLPEncoder, hidden=(200, 200)), partial(networks.MLPDecoder, hidden=(200, 200))
    return VAE(IMAGES, 50, encoder=encoder, decoder=decoder)


MODELS: dict[str, tuple[Callable[[], Any], int, dict[str, int]]] = {
    "default": (lambda: VAE(IMAGES, 2), 128, {"Triton": 21, "products": 11, "other": 2}),
    "conditional": (lambda: CVAE(IMAGES, 10, 2), 128, {"Triton": 22, "products": 11, "other": 2}),
    "Burda": (burda, 20, {"Triton": 30, "products": 17, "other": 2}),
    "flow": (lambda: VAE(IMAGES, 2, posterior=posteriors.Flow), 128, {"Triton": 45, "products": 29, "other": 2}),
}
"""Model, batch size, and the launches of a step when they were last counted: lower them when they become fewer."""
OFTEN = ("default", "Burda")


def compiled_step(model: Any, batch: int) -> Compilation:
    """What Inductor is given for a step of a training with pixels drawn anew."""
    compilations: list[Compilation] = []
    with fake_machine(compilations):
        count = 5 * batch
        pixels = torch.randint(0, 256, (count, *IMAGES), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        images = ImageSet.from_arrays(pixels, torch.arange(count) % 10, name="noise", validation=0)
        trainer = Trainer(epochs=1, batch_size=batch, device="cuda", engine="compiled", pixels="dynamic")
        trainer.fit(model, images, progress=False)
    return compilations[0]


@pytest.mark.parametrize("name", [n if n in OFTEN else pytest.param(n, marks=pytest.mark.full) for n in MODELS])
def test_launches_of_a_step(name: str) -> None:
    make, batch, known = MODELS[name]
    torch.manual_seed(0)
    found = launches(code_of(*compiled_step(make(), batch)))
    assert found["Triton"], "no code for a GPU was written"
    more = {kind: f"{number}, and not {known[kind]}" for kind, number in found.items() if number > known[kind]}
    assert not more, f"a step is more launches than it was: {more}"


def test_answers_of_this_machine_are_not_taken_for_the_pretended_one() -> None:
    here = has_triton()
    with pretended():
        assert has_triton(), "the answer remembered from before was given"
    assert has_triton() == here, "the pretended answer was kept"


def test_launches_are_counted() -> None:
    code = """
def helper(): torch.ops.aten.mm(1)
def call(self, args):
    triton_poi_fused_add_0.run(arg0_1, buf0, 10, stream=raw_stream0)
    extern_kernels.mm(buf0, buf1, out=buf2)
    buf3 = torch.ops.aten.rand_like.default(buf2)
    assert_tensor_metadata(buf3, (1,), (1,), torch.float32, 'torch.ops.aten.rand_like.default')
    # triton_poi_fused_add_1.run( is a comment
    buf4.copy_(buf3)
"""
    assert launches(code) == {"Triton": 1, "products": 1, "other": 2}
