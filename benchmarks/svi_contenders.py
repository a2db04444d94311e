"""The contenders of `svi_speed.py`: the same network, data, batches and optimizer, trained in different ways.

Every contender is built once (which may compile) and gives a function that takes so many steps.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.nn import functional

from pyrovae.engine import SVI

Steps = Callable[[int], None]


@dataclass(frozen=True)
class Problem:
    """What is trained: sizes of the network, the batch, the data, and the device."""

    hidden: tuple[int, ...] = (256,)
    latent: int = 2
    batch: int = 128
    size: int = 60_000
    activation: str = "relu"
    pixels: int = 784
    device: str = "cpu"

    def images(self) -> Tensor:
        """Grey images in [0, 1], shape (size, pixels), uint8 levels like MNIST's; one tensor for all contenders."""
        return _images(self.size, self.pixels, self.device)

    def orders(self, images: Tensor) -> Iterator[Tensor]:
        """Indices of one full batch after the other, in a new order each epoch."""
        while True:
            order = torch.randperm(len(images), device=images.device)
            yield from (index for index in order.split(self.batch) if len(index) == self.batch)


@functools.lru_cache(maxsize=1)
def _images(size: int, pixels: int, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (size, pixels), generator=generator, dtype=torch.uint8)
    return levels.to(device).float().div_(255)


class Network(nn.Module):
    """Encoder and decoder of a Gaussian/Bernoulli VAE, with its Pyro programs."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.latent = problem.latent
        sizes = (problem.pixels, *problem.hidden)
        activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[problem.activation]
        self.encoder = _mlp((*sizes, 2 * problem.latent), activation)
        self.decoder = _mlp((problem.latent, *reversed(sizes)), activation)

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", x.shape[0]):
            loc = x.new_zeros(x.shape[0], self.latent)
            z = pyro.sample("z", dist.Normal(loc, torch.ones_like(loc)).to_event(1))
            pixels = dist.Bernoulli(logits=self.decoder(z), validate_args=False)
            pyro.sample("x", pixels.to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", x.shape[0]):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def hand_written_loss(self, x: Tensor) -> Tensor:
        """The one-sample negative bound in plain PyTorch, with the analytic divergence."""
        loc, log_scale = self.encoder(x).chunk(2, -1)
        scale = log_scale.exp()
        logits = self.decoder(loc + scale * torch.randn_like(loc))
        reconstruction = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return reconstruction + 0.5 * (loc.square() + scale.square() - 1 - 2 * log_scale).sum()


def _mlp(sizes: tuple[int, ...], activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inside, outside in itertools.pairwise(sizes):
        layers += [nn.Linear(inside, outside), activation()]
    return nn.Sequential(*layers[:-1])


def network_and_batches(problem: Problem) -> tuple[Network, Tensor, Iterator[Tensor]]:
    """The network, the images, and the order of the batches, all from one seed."""
    torch.manual_seed(0)
    images = problem.images()
    return Network(problem).to(problem.device), images, problem.orders(images)


def engine(name: str) -> Callable[[Problem], Steps]:
    """This package's engine of that name."""

    def build(problem: Problem) -> Steps:
        network, images, orders = network_and_batches(problem)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        svi = SVI(network.model, network.guide, optimizer, engine=name, prepare=lambda index: images[index])

        def steps(count: int) -> None:
            svi.run([(index,) for index in itertools.islice(orders, count)])  # as the training loop does

        steps(2)  # the first step makes the optimizer's state, the second the graph
        return steps

    return build


def pyro_in_memory(problem: Problem) -> Steps:
    """`pyro.infer.SVI` on images in memory."""
    network, images, orders = network_and_batches(problem)
    svi = _pyro_svi(network)

    def steps(count: int) -> None:
        for _ in range(count):
            svi.step(images[next(orders)])

    return steps


def pyro_with_loader(problem: Problem) -> Steps:
    """`pyro.infer.SVI` fed as Pyro's own VAE example is: torchvision's transform in a DataLoader."""
    from PIL import Image
    from torchvision.transforms import ToTensor

    network, images, _ = network_and_batches(problem)
    levels = (images * 255).round().to(torch.uint8).view(-1, 28, 28).cpu().numpy()
    to_tensor = ToTensor()

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(levels)

        def __getitem__(self, index: int) -> Tensor:
            return to_tensor(Image.fromarray(levels[index]))

    loader = torch.utils.data.DataLoader(Images(), batch_size=problem.batch, shuffle=True, drop_last=True)
    svi = _pyro_svi(network)

    def endless() -> Iterator[Tensor]:
        while True:
            yield from loader

    batches = endless()

    def steps(count: int) -> None:
        for _ in range(count):
            svi.step(next(batches).view(problem.batch, -1).to(problem.device))

    return steps


def _pyro_svi(network: Network) -> pyro.infer.SVI:
    pyro.clear_param_store()

    def model(x: Tensor) -> None:
        pyro.module("decoder", network.decoder)
        network.model(x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", network.encoder)
        network.guide(x)

    return pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())


def eager(problem: Problem) -> Steps:
    """Hand-written PyTorch, eager, images in memory."""
    network, images, orders = network_and_batches(problem)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            network.hand_written_loss(images[next(orders)]).backward()
            optimizer.step()

    return steps


def torch_compiled(problem: Problem, mode: str | None = None) -> Steps:
    """Hand-written PyTorch, loss and update each under `torch.compile`; "reduce-overhead" records CUDA graphs."""
    network, images, orders = network_and_batches(problem)
    optimizer = torch.optim.Adam(network.parameters(), lr=torch.tensor(1e-3))
    loss = torch.compile(network.hand_written_loss, mode=mode)
    update = torch.compile(optimizer.step, mode=mode)

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            loss(images[next(orders)]).backward()
            update()

    steps(3)
    return steps


def cuda_graph(problem: Problem) -> Steps:
    """Hand-written PyTorch, one step captured by hand as a CUDA graph."""
    network, images, orders = network_and_batches(problem)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, capturable=True, fused=True)
    index = torch.zeros(problem.batch, dtype=torch.long, device=problem.device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        network.hand_written_loss(images[index]).backward()
        optimizer.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def steps(count: int) -> None:
        for _ in range(count):
            index.copy_(next(orders))
            graph.replay()

    return steps


def numpyro_loop(problem: Problem) -> Steps:
    """NumPyro's SVI with the whole run of steps in one `lax.fori_loop`."""
    import jax
    import numpyro
    from jax import lax, random
    from jax.example_libraries import stax
    from numpyro import distributions as ndist

    if problem.device == "cuda" and jax.default_backend() != "gpu":
        raise RuntimeError(f"JAX runs on the {jax.default_backend()} here, so this would compare two machines")
    activation = {"relu": stax.Relu, "tanh": stax.Tanh}[problem.activation]
    sizes = (problem.pixels, *problem.hidden)

    def mlp(outputs: tuple[int, ...]) -> tuple:
        layers: list = []
        for width in outputs:
            layers += [stax.Dense(width), activation]
        return stax.serial(*layers[:-1])

    encoder_net = mlp((*problem.hidden, 2 * problem.latent))
    decoder_net = mlp(tuple(reversed(sizes)))

    def model(x: jax.Array) -> None:
        decode = numpyro.module("decoder", decoder_net, (problem.batch, problem.latent))
        with numpyro.plate("images", problem.batch):
            z = numpyro.sample("z", ndist.Normal(0, 1).expand([problem.latent]).to_event(1))
            numpyro.sample("x", ndist.Bernoulli(logits=decode(z)).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        encode = numpyro.module("encoder", encoder_net, (problem.batch, problem.pixels))
        out = encode(x)
        loc, log_scale = out[:, : problem.latent], out[:, problem.latent :]
        with numpyro.plate("images", problem.batch):
            numpyro.sample("z", ndist.Normal(loc, jax.numpy.exp(log_scale)).to_event(1))

    svi = numpyro.infer.SVI(model, guide, numpyro.optim.Adam(1e-3), numpyro.infer.Trace_ELBO())
    images = jax.numpy.asarray(problem.images().cpu().numpy())
    state = [svi.init(random.PRNGKey(0), images[: problem.batch])]
    chooser = np.random.default_rng(0)

    @jax.jit
    def loop(state: tuple, order: jax.Array) -> tuple:
        def body(i: jax.Array, carry: tuple) -> tuple:
            index = lax.dynamic_slice_in_dim(order, i * problem.batch, problem.batch)
            carry, loss = svi.update(carry[0], images[index])
            return carry, loss

        return lax.fori_loop(0, len(order) // problem.batch, body, (state, 0.0))

    def steps(count: int) -> None:
        needed = count * problem.batch
        epochs = -(-needed // problem.size)
        order = np.concatenate([chooser.permutation(problem.size) for _ in range(epochs)])[:needed]
        state[0], loss = loop(state[0], jax.numpy.asarray(order))
        loss.block_until_ready()

    return steps


def products_alone(problem: Problem) -> Steps:
    """The matrix products of one step, forward and backward, and nothing else: the floor on a CPU."""
    network, _, _ = network_and_batches(problem)
    jobs = []
    for layers in (network.encoder, network.decoder):
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        for depth, layer in enumerate(linear):
            weight = layer.weight.detach()
            x = weight.new_ones(problem.batch, weight.shape[1])
            gradient = weight.new_ones(problem.batch, weight.shape[0])
            jobs.append((x, weight.t(), torch.empty_like(gradient)))
            jobs.append((gradient.t(), x, torch.empty_like(weight)))
            if depth or layers is network.decoder:
                jobs.append((gradient, weight, torch.empty_like(x)))

    def steps(count: int) -> None:
        for _ in range(count):
            for left, right, out in jobs:
                torch.mm(left, right, out=out)

    return steps


def contenders(problem: Problem) -> dict[str, Callable[[Problem], Steps]]:
    """All contenders that this machine can run, by name."""
    found: dict[str, Callable[[Problem], Steps]] = {
        "pyrovae compiled": engine("compiled"),
        "pyrovae graph": engine("graph"),
        "pyrovae pyro": engine("pyro"),
        "pyro.infer.SVI, in memory": pyro_in_memory,
        "pyro.infer.SVI, DataLoader": pyro_with_loader,
        "PyTorch eager": eager,
        "PyTorch torch.compile": torch_compiled,
    }
    if importlib.util.find_spec("numpyro"):
        found["NumPyro fori_loop"] = numpyro_loop
    if problem.device == "cuda":
        found["PyTorch CUDA graph by hand"] = cuda_graph
        found["PyTorch torch.compile, reduce-overhead"] = functools.partial(torch_compiled, mode="reduce-overhead")
    found["matrix products alone"] = products_alone
    return found
