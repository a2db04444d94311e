"""Operations of a traced graph, written so that Inductor makes fast C++ of them."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, fx

from pyrovae.engine.compat import PRODUCTS, fast_product, slow_float32_products

aten = torch.ops.aten

# Elements of a tensor from which the gamma functions are rewritten: a second or three more of compilation for each of
# them, against 25 ns an element and step.
WORTHWHILE = 2**15
# Euler's gamma function is shifted by four, where three terms of Stirling's series are exact to float32.
_SHIFT = math.exp(4.5) / math.sqrt(2 * math.pi)
_SINE = (1.0, -1.6449340668, 0.8117424253, -0.1907518241, 0.0261478478, -0.0023460810)  # of sin(pi f) / (pi f)
_COSINE = (1.0, -4.9348022005, 4.0587121264, -1.3352627688, 0.2353306304, -0.0258068914, 0.0019295743)  # of cos(pi f)


def rewrite_for_cpu(graph: fx.Graph) -> None:
    """Put other forms of the same functions into a graph.

    Args:
        graph: ATen operations; changed in place. Values differ by rounding.
    """
    share_exponential(graph)
    for node in graph.nodes:
        node.target = _REWRITTEN.get(node.target, node.target)  # Inductor traces the graph anew, and these with it


def rewrite_for_cuda(graph: fx.Graph) -> None:
    """Put forms into a graph that need no host and that Inductor fuses.

    Args:
        graph: ATen operations; changed in place. Values differ by rounding.
    """
    never_wait(graph)
    for node in graph.nodes:
        if node.target is aten.digamma.default:  # Inductor leaves it to torch; lgamma it has from CUDA's own library
            node.target = digamma


def never_wait(graph: fx.Graph) -> None:
    """Have factorisations that fail give NaN, where torch's own check would wait for the GPU.

    A CUDA graph can hold no such check; the loss is then not finite, which stops the step.

    Args:
        graph: ATen operations; changed in place.
    """
    for check in [n for n in graph.nodes if n.target is aten._linalg_check_errors.default]:
        info = check.all_input_nodes[0]
        results = [n for made in info.all_input_nodes for n in made.users if n.meta["val"].is_floating_point()]
        nodes = list(graph.nodes)
        for result in results:
            missing = result.meta["val"].dim() - info.meta["val"].dim()
            with graph.inserting_after(max(result, info, key=nodes.index)):
                value = graph.call_function(_where_successful, (result, info, missing))
            for user in [user for user in result.users if user is not value]:
                user.replace_input_with(result, value)
        graph.erase_node(check)


def _where_successful(result: Tensor, info: Tensor, missing: int) -> Tensor:
    """A factorisation's result, NaN where it failed; `info` has so many dimensions less."""
    return torch.where(info.reshape(*info.shape, *[1] * missing) == 0, result, math.nan)


def share_exponential(graph: fx.Graph) -> None:
    """Write the cross-entropy of logits and their sigmoid, which is its gradient, with one exponential between them.

    Inductor's own forms take three, which is most of the time that a Bernoulli likelihood costs on a CPU.

    Args:
        graph: ATen operations; changed in place. Values differ by rounding: log(1 + e) stands for log1p(e).
    """
    for loss in [n for n in graph.nodes if n.target is aten.binary_cross_entropy_with_logits.default]:
        if len(loss.args) != 5 or loss.args[2:] != (None, None, 0):  # weighted, or reduced
            continue
        x, target = loss.args[:2]
        with graph.inserting_before(loss):
            call = graph.call_function
            exponential = call(aten.exp.default, (call(aten.neg.default, (call(aten.abs.default, (x,)),)),))
            one_more = call(aten.add.Tensor, (exponential, 1.0))
            positive = call(aten.sub.Tensor, (call(aten.relu.default, (x,)), call(aten.mul.Tensor, (x, target))))
            value = call(aten.add.Tensor, (positive, call(aten.log.default, (one_more,))))
            larger = call(aten.reciprocal.default, (one_more,))
            smaller = call(aten.mul.Tensor, (exponential, larger))
            sigmoid = call(aten.where.self, (call(aten.ge.Scalar, (x, 0)), larger, smaller))
        loss.replace_all_uses_with(value)
        graph.erase_node(loss)
        nodes = list(graph.nodes)
        for node in [n for n in nodes[nodes.index(sigmoid) :] if n.target is aten.sigmoid.default and n.args[0] is x]:
            node.replace_all_uses_with(sigmoid)
            graph.erase_node(node)


def log_gamma(x: Tensor) -> Tensor:
    """torch.lgamma in elementary operations, in float32; other types are left to torch.

    With y = x + 4, log Gamma(x) = (x - 1/2) (log y - 1) - log(e^4.5 x (x+1) (x+2) (x+3) / (sqrt(2 pi) y^4)) + 1/(12 y)
    - 1/(360 y^3) + 1/(1260 y^5), in which no term is large where the sum is small: for x > 0 the error is at most 1e-6,
    relative or absolute. For x < 0, log |Gamma(x)| = -log |sin(pi x) / pi| - log Gamma(1 - x).

    References:
        NIST Digital Library of Mathematical Functions, 5.5.1, 5.5.3 and 5.11.1.
    """
    if x.dtype != torch.float32:
        return torch.lgamma(x)
    negative, f, x = _reflected(x)
    log_y, r, a, b = _shifted(x)
    s = r * r
    value = (x - 0.5) * (log_y - 1) + r * (1 / 12 - s * (1 / 360 - s * (1 / 1260)))
    product = _SHIFT * (a * b)
    sine = f * _polynomial(_SINE, f * f)
    return torch.where(negative, -value, value) - torch.where(negative, sine.abs() / product, product).log()


def digamma(x: Tensor) -> Tensor:
    """torch.digamma in elementary operations, in float32; other types are left to torch.

    With y = x + 4, psi(x) = log y - 1/(2 y) - 1/(12 y^2) + 1/(120 y^4) - 1/(252 y^6) - sum_{i<4} 1/(x + i), the sum as
    one fraction. For x < 0, psi(x) = psi(1 - x) - pi / tan(pi x).

    References:
        NIST Digital Library of Mathematical Functions, 5.5.2, 5.5.4 and 5.11.2.
    """
    if x.dtype != torch.float32:
        return torch.digamma(x)
    negative, f, x = _reflected(x)
    log_y, r, a, b = _shifted(x)
    s = r * r
    value = log_y - 0.5 * r - s * (1 / 12 - s * (1 / 120 - s * (1 / 252)))
    value = value - (2 * x.clamp(max=1e8) + 3) * s * (a + b) / (a * b)
    sine = f * _polynomial(_SINE, f * f)
    cotangent = _polynomial(_COSINE, f * f) / torch.where(sine == 0, math.nan, sine)  # torch has NaN at the poles
    return value - torch.where(negative, cotangent, 0.0)


def _reflected(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where x < 0; x less its nearest whole number; and x there, 1 - x where x < 0."""
    x = x.clamp(min=-1e8)  # below, every float32 is a whole number
    negative = x < 0
    return negative, x - x.round(), torch.where(negative, 1 - x, x)


def _shifted(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """With y = x + 4: log y, 1 / y, and of x (x + 1) (x + 2) (x + 3) / y^4 the outer two and the inner two factors."""
    near = x.clamp(max=1e8)  # above, 1 / x is no more seen
    r = (near + 4).reciprocal()
    outer = (near * r) * ((near + 3) * r)
    return (x + 4).log(), r, outer, outer + 2 * (r * r)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    value = x * coefficients[-1]
    for coefficient in coefficients[-2:0:-1]:
        value = (value + coefficient) * x
    return value + coefficients[0]


def joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """torch.cat, in two dimensions if the tensors are images of one channel.

    Their memory is in the order of "channels last" too, and Inductor then interleaves the images that it joins: the
    gradients of the halves of `chunk` do not reach its loops as neighbours any more.
    """
    first = tensors[0]
    if not any(map(_one_channel, tensors)) or any(t.dim() != first.dim() for t in tensors):
        return torch.cat(list(tensors), dim)
    size, dim = list(first.shape), dim % first.dim()
    size[dim] = sum(t.shape[dim] for t in tensors)
    rows = math.prod(size[:dim])
    return torch.cat([t.reshape(rows, math.prod(t.shape[dim:])) for t in tensors], 1).reshape(size)


def stacked(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """torch.stack, joined as above."""
    return joined([t.unsqueeze(dim) for t in tensors], dim)


def _one_channel(x: Tensor) -> bool:
    channels_last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    return channels_last is not None and x.is_contiguous() and x.is_contiguous(memory_format=channels_last)


def product(a: Tensor, b: Tensor) -> Tensor:
    """torch.mm or torch.bmm, by kernels of the engine where torch's own are slow."""
    return fast_product()(a, b, None) if _is_slow(a, b) else torch.matmul(a, b)


def product_plus(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """torch.addmm or torch.baddbmm, by kernels of the engine where torch's own are slow."""
    if (beta, alpha) != (1, 1) or not _is_slow(a, b):
        return (torch.addmm if a.dim() == 2 else torch.baddbmm)(bias, a, b, beta=beta, alpha=alpha)
    if bias.dim() == 1 and len(bias) == b.shape[-1]:
        return fast_product()(a, b, bias)
    return bias + fast_product()(a, b, None)


def _is_slow(a: Tensor, b: Tensor) -> bool:
    return a.numel() * b.numel() > 0 and a.dtype == b.dtype == torch.float32 and slow_float32_products()


def log_gamma_of_many(x: Tensor) -> Tensor:
    """torch.lgamma, in elementary operations where that pays."""
    return log_gamma(x) if x.numel() >= WORTHWHILE else torch.lgamma(x)


def digamma_of_many(x: Tensor) -> Tensor:
    """torch.digamma, in elementary operations where that pays."""
    return digamma(x) if x.numel() >= WORTHWHILE else torch.digamma(x)


def bernoulli(p: Tensor) -> Tensor:
    """torch.bernoulli from the same random numbers as torch takes, which Inductor does not in float64."""
    return (torch.rand_like(p) < p).to(p.dtype) if p.dtype == torch.float64 else torch.bernoulli(p)


_REWRITTEN: dict[object, Callable[..., Tensor]] = {
    aten.lgamma.default: log_gamma_of_many,
    aten.digamma.default: digamma_of_many,
    aten.bernoulli.default: bernoulli,
    aten.mm.default: product,
    aten.bmm.default: product,
    aten.addmm.default: product_plus,
    aten.baddbmm.default: product_plus,
    aten.cat.default: joined,
    aten.stack.default: stacked,
}


@functools.cache
def rewritten_functions() -> dict[str, str]:
    """Names of the functions here that graphs call, with a digest of all that they depend on.

    Inductor keeps a graph that calls them on disk, and takes it from there as long as the digest is the same.
    """
    sources = (Path(__file__).read_bytes(), PRODUCTS.read_bytes())
    depends = (sources, torch.backends.cpu.get_cpu_capability().encode(), slow_float32_products())
    digest = hashlib.sha256(repr(depends).encode()).hexdigest()
    functions = {*_REWRITTEN.values(), digamma, _where_successful}
    return dict.fromkeys(sorted(f"{function.__module__}.{function.__name__}" for function in functions), digest)
