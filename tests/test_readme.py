"""The README's Python runs, block after block, as it stands there."""

import re
from pathlib import Path

import pyro
import pytest
import torch

from pyrovae.factory.build import build_model, instantiate
from pyrovae.runs.config_file import create_run
from pyrovae.runs.training import parse_training
from pyrovae.training import RunFolder
from pyrovae.training.weights import save_weights

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.slow
def test_the_code_in_the_readme_runs(tmp_path: Path, monkeypatch, digits) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = parse_training(["--name", "mnist-vae-2d"])
    folder: RunFolder = create_run(arguments, digits)
    model = build_model(instantiate(arguments).model, digits.image_shape, 10, 0)
    save_weights(folder.last_weights, model.state_dict())

    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {"pyro": pyro}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)  # the README is ours
    assert names["new"].shape == (16, 1, 8, 8)
    assert names["richer"].shapes.latent_dim == 10
    assert len(names["history"]) == 100
    assert torch.tensor(names["losses"][-100:]).mean() < torch.tensor(names["losses"][:20]).mean()
    pyro.clear_param_store()
