"""Every public function that takes a model takes one on a GPU: the answers are the CPU's, and nothing is changed.

The arguments are those of the campaign of wrong calls, which has a row for every public function.
"""

import importlib
import inspect
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fake_gpu import FakeGpu
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "campaigns"))

from api_calls import ROOMS, right_arguments, world

import pyrovae


@pytest.fixture(scope="module")
def tiny() -> SimpleNamespace:
    return world()


def takes_a_model(function: Any) -> bool:
    return inspect.isfunction(function) and not {"model", "models"}.isdisjoint(inspect.signature(function).parameters)


FUNCTIONS = [
    (room, name)
    for room in ROOMS
    for name, function in vars(importlib.import_module(f"pyrovae.{room}")).items()
    if name in importlib.import_module(f"pyrovae.{room}").__all__ and takes_a_model(function)
]


@pytest.mark.parametrize(("room", "name"), FUNCTIONS)
def test_every_function(gpu: FakeGpu, tiny: SimpleNamespace, room: str, name: str) -> None:
    labels = {"model": pyrovae.SemiSupervisedVAE((1, 8, 8), 10, 2), "split": tiny.few.without_labels()}
    simple = {"check_has_likelihood": {"model": tiny.vae}, "other_codes": {"model": tiny.vae}}
    arguments = (right_arguments(tiny) | simple | {"with_predicted_labels": labels})[name]
    function = getattr(importlib.import_module(f"pyrovae.{room}"), name)
    models = [value for value in (*arguments.values(), *arguments.get("models", ())) if isinstance(value, nn.Module)]
    try:
        for model in models:
            model.to("cuda")
        before = [tensor.clone() for model in models for tensor in model.state_dict().values()]
        states = torch.get_rng_state(), torch.cuda.get_rng_state()
        function(**arguments)
        after = [tensor for model in models for tensor in model.state_dict().values()]
        assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
        assert torch.equal(torch.get_rng_state(), states[0])
        assert torch.equal(torch.cuda.get_rng_state(), states[1])
    finally:
        for model in models:
            model.to("cpu")


def test_answers_are_those_of_the_cpu(gpu: FakeGpu, tiny: SimpleNamespace) -> None:
    """Where nothing is drawn."""
    from pyrovae.inference import quadrature
    from pyrovae.latent import encode

    on_cpu = quadrature(tiny.vae, tiny.few, 8).log_likelihood, encode(tiny.vae, tiny.few).means
    try:
        tiny.vae.to("cuda")
        on_gpu = quadrature(tiny.vae, tiny.few, 8).log_likelihood, encode(tiny.vae, tiny.few).means
    finally:
        tiny.vae.to("cpu")
    for found, expected in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_analyses_are_in_whole_float32(gpu: FakeGpu, tiny: SimpleNamespace) -> None:
    """Convolutions too, which torch computes in TF32 by default; a training in TF32 goes on as it was."""
    from pyrovae.engine.compilation import tf32
    from pyrovae.runtime import frozen

    with tf32(True):
        with frozen(tiny.vae):
            assert not torch.backends.cudnn.allow_tf32
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32
