"""Steps as CUDA graphs: recorded on their own device, or run without one; failures leave everything as it was."""

import logging

import pyro
import pyro.distributions as dist
import pytest
import torch
from fake_gpu import FakeGpu
from fake_machine import Compilation
from pyro.infer.autoguide import AutoLowRankMultivariateNormal, AutoMultivariateNormal
from torch import Tensor

from pyrovae.engine import SVI, CompilerError, compilation, compile_function, missing_compiler
from pyrovae.engine.capture import capture
from pyrovae.engine.compat import float32_precision, settings_around
from pyrovae.engine.cuda_graphs import RecordingError, Replay

SECOND = torch.device("cuda:1")


class Counting:
    """Adds a normal number to a tensor, and waits for the GPU when told so."""

    def __init__(self, device: str | torch.device = "cuda:0") -> None:
        self.total = torch.zeros(3, device=device)
        self.waits = False

    def __call__(self, x: Tensor) -> list[Tensor]:
        self.total.add_(x)
        return [self.total + torch.randn(3, device=x.device)]

    def replayed(self, waits_when: int | None = None) -> Replay:
        """Recorded; a wait comes at that call of the compiled code."""
        x = torch.ones(3, device=self.total.device)
        captured = capture(self, [x])
        calls = [0]

        def call(*inputs: Tensor) -> list[Tensor]:
            calls[0] += 1
            results = captured.graph.forward(*inputs)
            if calls[0] == waits_when:
                results[0].sum().item()
            return results

        return Replay(call, captured, [x])


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_a_replay_is_a_call(gpu: FakeGpu, device: str) -> None:
    """On the device of the tensors, whichever is the current one; making it leaves no mark."""
    plain, counting = Counting(device), Counting(device)
    torch.cuda.default_generators[torch.device(device).index].manual_seed(3)
    x = torch.ones(3, device=device)
    before = torch.cuda.get_rng_state(torch.device(device))
    replay = counting.replayed()
    assert counting.total.tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(torch.cuda.get_rng_state(torch.device(device)), before)
    found = [replay(i * x, counting.total)[0] for i in range(1, 4)]
    torch.cuda.set_rng_state(before, torch.device(device))
    for i, result in enumerate(found, 1):
        torch.testing.assert_close(result.cpu(), plain(i * x)[0].cpu())
    assert counting.total.tolist() == [6.0, 6.0, 6.0]
    assert (gpu.recorder.graphs[0].replays, gpu.recorder.modes) == (3, ["thread_local"])
    assert torch.cuda.current_device() == 0


def test_an_empty_graph_is_refused(gpu: FakeGpu) -> None:
    """Its replay would leave the parameters as they are, without a word."""
    x = torch.ones(3, device="cuda")
    captured = capture(lambda x: [x + 1], [x])
    results = captured.graph.forward(x)
    with pytest.raises(RecordingError, match="CUDA Graph is empty"):
        Replay(lambda *inputs: results, captured, [x])


def test_a_recording_that_fails_leaves_generator_stream_and_tensors(gpu: FakeGpu) -> None:
    counting, stream = Counting(), torch.cuda.current_stream()
    before = torch.cuda.get_rng_state()
    with pytest.raises(RecordingError, match="not permitted when stream is capturing"):
        counting.replayed(waits_when=4)
    assert torch.cuda.current_stream() is stream
    assert torch.equal(torch.cuda.get_rng_state(), before)
    torch.randn(3, device="cuda")  # the generator is no more of the graph that failed
    assert counting.total.tolist() == [0.0, 0.0, 0.0]


def test_without_care_the_generator_would_be_lost(gpu: FakeGpu) -> None:
    """A control: what the test above asks for does not come by itself."""
    with pytest.raises(RuntimeError, match="previous error during capture"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.ones(3, device="cuda").sum().item()
    with pytest.raises(RuntimeError, match="outside graph capture"):
        torch.randn(3, device="cuda")


def test_code_that_fails_by_itself_is_no_matter_of_recording(gpu: FakeGpu) -> None:
    x = torch.ones(3, device="cuda")
    captured = capture(lambda x: [x + 1], [x])
    with pytest.raises(CompilerError, match="failed on the GPU \\(no kernel\\)"):
        Replay(lambda *inputs: pytest.fail("no kernel") if False else _raise("no kernel"), captured, [x])


def _raise(words: str) -> list[Tensor]:
    raise RuntimeError(words)


def test_training_goes_on_without_replay_and_says_so_once(
    gpu: FakeGpu, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def function(x: Tensor) -> Tensor:
        return 2 * x

    def compiled(graph: object, inputs: object, options: object, known: object) -> object:
        def call(*inputs: Tensor) -> list[Tensor]:
            result = graph.forward(*inputs)
            if gpu.recorder.stream is not None:
                result[0].sum().item()
            return result

        return call

    monkeypatch.setattr(compilation, "inductor_compile", compiled)
    double = compile_function(function)
    with caplog.at_level(logging.WARNING):
        for size in (2, 2, 3, 3):
            assert double(torch.ones(size, device="cuda")).tolist() == [2.0] * size
    said = [record.message for record in caplog.records if "CUDA graph" in record.message]
    assert len(said) == 1
    assert "kernels run one by one" in said[0]


def normals(x: Tensor) -> None:
    zero = torch.zeros((), device=x.device)
    mean = pyro.sample("mean", dist.Normal(zero, 10.0))
    spread = pyro.sample("spread", dist.HalfNormal(zero + 10.0))
    with pyro.plate("rows", len(x)):
        pyro.sample("x", dist.Normal(mean, spread), obs=x)


@pytest.mark.parametrize("guide", [AutoLowRankMultivariateNormal, AutoMultivariateNormal])
def test_guides_with_a_factorisation_are_recorded(gpu: FakeGpu, guide: type) -> None:
    losses = {}
    x = torch.linspace(-1, 3, 9, device="cuda")
    for engine in ("pyro", "compiled"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        torch.cuda.manual_seed(0)
        svi = SVI(normals, guide(normals), pyro.optim.Adam({"lr": 0.02}), engine=engine, check_every=None)
        losses[engine] = [svi.step(x) for _ in range(5)]
    pyro.clear_param_store()
    assert losses["compiled"] == pytest.approx(losses["pyro"], rel=1e-4)
    assert gpu.recorder.graphs[-1].replays == 3


@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_factorisation_that_fails_is_nan(gpu: FakeGpu, batch: tuple[int, ...]) -> None:
    factor = compile_function(lambda a: (torch.linalg.cholesky(a), torch.linalg.inv(a)))
    good = 4 * torch.eye(3, device="cuda").expand(*batch, 3, 3).contiguous()
    for result, expected in zip(factor(good), (2.0, 0.25), strict=True):
        torch.testing.assert_close(result.cpu(), expected * torch.eye(3).expand(*batch, 3, 3))
    bad = good.clone()
    bad.view(-1, 3, 3)[0, 1, 1] = -1.0
    factors = factor(bad)[0].cpu().reshape(-1, 3, 3)
    assert factors[0].isnan().all()
    assert factors[1:].isfinite().all()


def test_a_step_whose_factorisation_fails_is_stopped(gpu: FakeGpu) -> None:
    """By the loss that is not finite; parameters keep their values."""
    loc = torch.nn.Parameter(torch.zeros(2, device="cuda"))

    def model(covariance: Tensor) -> None:
        pyro.sample("z", dist.Normal(torch.zeros(2, device="cuda"), 1.0).to_event(1))

    def guide(covariance: Tensor) -> None:
        pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=torch.linalg.cholesky(covariance)))

    svi = SVI(model, guide, torch.optim.SGD([loc], lr=0.1), engine="compiled", check_every=None)
    good = torch.eye(2, device="cuda")
    for _ in range(5):
        svi.step(good)
    before = loc.detach().clone()
    with pytest.raises((FloatingPointError, ValueError, RuntimeError)):
        svi.step(-good)
    assert torch.equal(loc.detach(), before)


def test_inductor_makes_no_graphs_of_its_own(gpu: FakeGpu, compilations: list[Compilation]) -> None:
    double = compile_function(lambda x: 2 * x)
    double(torch.ones(2, device="cuda"))
    assert compilations[-1][2]["triton.cudagraphs"] is False


def test_compiling_leaves_the_random_numbers_of_its_gpu(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(graph: object, inputs: object, options: object, known: object) -> object:
        torch.rand(5, device=SECOND)  # kernels are tried while they are made
        return graph.forward

    monkeypatch.setattr(compilation, "inductor_compile", compiled)
    before = torch.cuda.get_rng_state(SECOND)
    compile_function(lambda x: 2 * x)(torch.ones(2, device=SECOND))
    assert torch.equal(torch.cuda.get_rng_state(SECOND), before)


def test_triton_needs_a_c_compiler(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compilation.shutil, "which", lambda name: None)
    assert "no C compiler" in str(missing_compiler(SECOND))
    monkeypatch.setattr(compilation.shutil, "which", lambda name: "/bin/gcc" if name == "gcc" else None)
    assert missing_compiler(SECOND) is None


def test_digamma_is_written_out(gpu: FakeGpu) -> None:
    """Inductor has no kernel of it for a GPU."""
    x = torch.tensor([0.1, 1.0, 2.5, 40.0], device="cuda")
    captured = capture(lambda x: [torch.digamma(x)], [x])
    compilation.compiled(captured, [x])
    assert torch.ops.aten.digamma.default not in [node.target for node in captured.graph.graph.nodes]
    torch.testing.assert_close(captured.graph(x)[0].cpu(), torch.digamma(x.cpu()))


@pytest.mark.parametrize("enabled", [False, True])
def test_tf32_is_as_asked_for_in_products_and_convolutions(gpu: FakeGpu, enabled: bool) -> None:
    before = float32_precision()
    with compilation.tf32(enabled):
        assert float32_precision()[:2] == (enabled, enabled)
    assert float32_precision() == before
    assert before[1], "torch's default is TF32 in convolutions: this test would find nothing"


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="older torch has one switch")
def test_the_new_switches_of_the_user_are_put_back(gpu: FakeGpu) -> None:
    """Torch refuses to read the old ones then, and the engine reads what it may."""
    before = float32_precision()
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        settings = settings_around()
        with compilation.tf32(False):
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert settings_around() == settings
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cuda.matmul.fp32_precision = before[2]["products"]
