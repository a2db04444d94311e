"""Controls: mistakes that are planted, and that the fake GPU must find."""

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from fake_gpu import FakeGpu
from torch import Tensor, nn

from pyrovae import VAE
from pyrovae.engine import SVI, UntraceableError
from pyrovae.shapes import Shapes


class HostPrior(nn.Module):
    """A mistake: its tensors do not follow the model to the GPU."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.loc = torch.zeros(shapes.latent_dim)

    def forward(self, y: Tensor | None = None) -> Any:
        return dist.Normal(self.loc, 1.0).to_event(1)


@pytest.mark.parametrize("engine", ["pyro", "graph", "compiled"])
def test_a_constant_of_the_host(gpu: FakeGpu, engine: str) -> None:
    model = VAE((1, 8, 8), 2, prior=HostPrior).to("cuda")
    svi = SVI(model.model, model.guide, torch.optim.Adam(model.parameters()), engine=engine)
    with pytest.raises((RuntimeError, UntraceableError), match="same device"):
        svi.step(torch.ones(4, 1, 8, 8, device="cuda"))


def test_what_cuda_refuses(gpu: FakeGpu) -> None:
    on_gpu = torch.ones(2, device="cuda")
    with pytest.raises(TypeError, match="can't convert"):
        on_gpu.numpy()
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(2, device="cuda", generator=torch.Generator())
    with pytest.raises(RuntimeError, match="same device"):
        nn.Linear(2, 2)(on_gpu)
    with pytest.raises(RuntimeError, match="same device"):
        on_gpu + torch.ones(2, device="cuda:1")
    with pytest.raises(RuntimeError, match="same device"):
        torch.stack([on_gpu.sum(), torch.tensor(1.0)])
    assert (on_gpu + torch.tensor(1.0)).tolist() == [2.0, 2.0]


def test_waits_are_counted_and_refused_while_recording(gpu: FakeGpu) -> None:
    x = torch.arange(3.0, device="cuda")
    for wait in (lambda: x.sum().item(), lambda: x.nonzero(), lambda: x[x > 1], lambda: x.cpu(), lambda: bool(x.any())):
        before = gpu.waits.total()
        wait()
        assert gpu.waits.total() > before
        with pytest.raises(RuntimeError, match="captur"), torch.cuda.graph(torch.cuda.CUDAGraph()):
            wait()
        for generator in gpu.recorder.generators:
            generator.of_a_graph = False
    before = gpu.waits.total()
    torch.ones(3).pin_memory().to("cuda", non_blocking=True)
    assert gpu.waits.total() == before
    torch.ones(3).to("cuda", non_blocking=True)
    assert gpu.waits.total() == before + 1


def test_gpus_have_generators_of_their_own(gpu: FakeGpu) -> None:
    host = torch.get_rng_state()
    torch.cuda.manual_seed(5)
    first = torch.rand(4, device="cuda").tolist()
    torch.rand(4, device="cuda:1")
    torch.cuda.manual_seed(5)
    assert torch.rand(4, device="cuda").tolist() == first
    assert torch.equal(torch.get_rng_state(), host)


def test_a_graph_is_recorded_on_the_stream_of_its_device_alone(gpu: FakeGpu) -> None:
    """What used to train nothing on a second GPU: work of one, recorded on the stream of another."""
    x = torch.ones(3, device="cuda:1")
    graph = torch.cuda.CUDAGraph()
    with pytest.warns(UserWarning, match="CUDA Graph is empty"), torch.cuda.graph(graph):
        x.add_(1)
