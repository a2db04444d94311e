"""Networks as ONNX, each held against torch by onnxruntime on the same inputs."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrovae.contracts import NotApplicable
from pyrovae.data import Split, batches
from pyrovae.export.networks import DecoderNetwork, EncoderNetwork, Network
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen

TOLERANCE = 1e-4
"""Largest difference to torch, as a share of the largest number of an output, or of 1 if that is larger."""
LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
INSTALL = "pip install 'pyrovae[export]'"
MOST_BYTES = 2 * 10**9
"""Of weights, which one file of ONNX cannot exceed."""
OTHERWISE = {
    "encoder": "encode with pyrovae.load(run).posterior(x) in Python instead",
    "decoder": "decode with pyrovae.load(run).likelihood(z) in Python instead",
}


class MissingLibrary(ValueError):  # noqa: N818 - an answer as much as an error
    """A library that only the export needs is not installed."""


@dataclass(frozen=True, eq=False)
class Exported:
    """The networks of a model as ONNX.

    Attributes:
        files: The content of each file of ONNX, by the network's name.
        facts: Inputs, outputs and the difference to torch of each, by the network's name.
        missing: Why a network is not there, by its name.
    """

    files: dict[str, bytes]
    facts: dict[str, dict[str, Any]]
    missing: dict[str, str] = field(default_factory=dict)


def need_libraries() -> None:
    """Refuse to go on without the libraries of the export.

    Raises:
        MissingLibrary: If one of them cannot be imported.
    """
    for name in LIBRARIES:
        try:
            import_module(name)
        except ImportError as error:
            raise MissingLibrary(f"ONNX needs the package {name}, which cannot be imported: {INSTALL}") from error


def export_networks(model: LatentVariableModel, split: Split) -> Exported:
    """Encoder and decoder of a model as ONNX, with a batch of any size.

    Args:
        model: The model.
        split: Images, uint8 (N, C, H, W), and labels, (N,), by which they are held against torch.

    Raises:
        MissingLibrary: If a library of the export is not installed.
        ValueError: If neither can be exported, or one gives other numbers than torch.
    """
    need_libraries()
    files: dict[str, bytes] = {}
    facts: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    with frozen(model) as device:
        if device.type != "cpu":
            raise ValueError(f"the export takes a model on the CPU, got one on {device}: model.cpu() moves it")
        inputs = _inputs(model, split)
        for kind in (EncoderNetwork, DecoderNetwork):
            try:
                network = kind(model).eval()
                content = _converted(network)
            except NotApplicable as reason:
                missing[kind.name] = f"{reason}; {OTHERWISE[kind.name]}"
                continue
            files[kind.name] = content
            facts[kind.name] = {
                "inputs": list(network.inputs),
                "outputs": list(network.outputs),
                "difference": _difference(network, content, inputs[kind.name]),
                "checked_on": len(inputs[kind.name][0]),
            }
    if not files:
        raise NotApplicable("; ".join(f"the {name} cannot be exported: {why}" for name, why in missing.items()))
    return Exported(files, facts, missing)


def run_onnx(content: bytes, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a file of ONNX on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))


def _inputs(model: LatentVariableModel, split: Split) -> dict[str, tuple[Tensor, ...]]:
    """Images for the encoder, and codes of these for the decoder, drawn by the posterior."""
    x, y = next(iter(batches(split, len(split), torch.device("cpu"))))
    labels = (y,) if model.shapes.num_classes else ()
    return {"encoder": (x, *labels), "decoder": (model.posterior(x, y).sample(), *labels)}


def _converted(network: Network) -> bytes:
    """A network as ONNX.

    Raises:
        NotApplicable: If torch cannot convert it.
    """
    size = sum(weight.nbytes for weight in network.parameters())
    if size > MOST_BYTES:
        raise NotApplicable(f"it has {size:,} bytes of weights, and a file of ONNX holds {MOST_BYTES:,} at most")
    batch = {0: torch.export.Dim.DYNAMIC}
    try:
        with _quietly():
            program = torch.onnx.export(
                network,
                network.example(2),
                dynamo=True,
                verbose=False,
                input_names=list(network.inputs),
                output_names=list(network.outputs),
                dynamic_shapes=tuple(batch for _ in network.inputs),
            )
    except Exception as error:  # torch raises many kinds; what is none of ours is in what it names first
        raise NotApplicable(f"torch cannot convert it ({_reason(error)})") from error
    assert program is not None
    return _without_history(program.model_proto)


def _without_history(model: Any) -> bytes:
    """A model without the lines of code that each node came from: they name folders of whoever made it.

    Args:
        model: The protocol buffer of a model of ONNX.
    """
    graphs = [model.graph, *model.functions]
    for holder in (model, *graphs):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    for graph in graphs:
        for node in graph.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    return bytes(model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without checks of values, which a graph cannot take over, and without what the converter says to its authors."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with pyro.validation_enabled(False), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The first line of the error that began a chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"[:200]


def _difference(network: Network, content: bytes, inputs: tuple[Tensor, ...]) -> float:
    """The largest difference to torch, on a batch and on its first input alone.

    Raises:
        ValueError: If it is above the tolerance.
    """
    worst = 0.0
    for count in (len(inputs[0]), 1):
        some = tuple(tensor[:count] for tensor in inputs)
        named = {name: tensor.numpy() for name, tensor in zip(network.inputs, some, strict=True)}
        found = run_onnx(content, named)
        with torch.no_grad():
            expected = [tensor.numpy() for tensor in network(*some)]
        for name, mine, theirs in zip(network.outputs, found, expected, strict=True):
            away = float(np.abs(mine - theirs).max() / max(1.0, float(np.abs(theirs).max())))
            if mine.shape != theirs.shape or not away <= TOLERANCE:
                raise ValueError(
                    f"the {network.name}'s {name} is {away:.2g} away from torch's by onnxruntime, and {TOLERANCE:g} "
                    f"is allowed: nothing was written"
                )
            worst = max(worst, away)
    return worst
