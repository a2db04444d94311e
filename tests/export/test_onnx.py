"""Encoder and decoder as ONNX: the numbers are torch's, for batches of any size, or it is said why not."""

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_runs import make_run

import pyrovae
from pyrovae.cli.export import describe
from pyrovae.cli.main import main
from pyrovae.data import ImageSet, fixed_split, from_values
from pyrovae.export import onnx_files
from pyrovae.export.onnx_files import Exported, export_networks, run_onnx
from pyrovae.networks import ConvDecoder, ConvEncoder
from pyrovae.posteriors import Flow
from pyrovae.runs.loading import Run

pytest.importorskip("onnxscript")

MODELS: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    "dense": ({}, ("mean", "variance"), ("mean", "logits")),
    "conv": ({"encoder": ConvEncoder, "decoder": ConvDecoder}, ("mean", "variance"), ("mean", "logits")),
    "full": ({"posterior": pyrovae.posteriors.FullNormal}, ("mean", "covariance"), ("mean", "logits")),
    "flow": ({"posterior": Flow}, ("mean", "covariance"), ("mean", "logits")),
    "grey": ({"likelihood": pyrovae.likelihoods.Normal}, ("mean", "variance"), ("mean", "scale")),
}


@pytest.mark.parametrize("conditional", [False, True], ids=["VAE", "CVAE"])
@pytest.mark.parametrize("name", MODELS)
def test_the_numbers_are_those_of_torch(name: str, conditional: bool, digits: ImageSet) -> None:
    parts, of_encoder, of_decoder = MODELS[name]
    model = pyrovae.CVAE((1, 8, 8), 10, 3, **parts) if conditional else pyrovae.VAE((1, 8, 8), 3, **parts)
    split = fixed_split(digits.split("test"), "dynamic").take(range(20))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = export_networks(model, split)
    assert not found.missing
    assert tuple(found.facts["encoder"]["outputs"]) == of_encoder
    assert tuple(found.facts["decoder"]["outputs"]) == of_decoder
    here = str(Path(torch.__file__).parents[1]).encode(), str(Path(pyrovae.__file__).parent).encode()
    assert not any(folder in content for content in found.files.values() for folder in here)  # nor who made it
    assert all(facts["difference"] < onnx_files.TOLERANCE for facts in found.facts.values())
    z, y = torch.randn(7, 3), torch.arange(7)
    labels = {"y": y.numpy()} if conditional else {}
    mean = run_onnx(found.files["decoder"], {"z": z.numpy(), **labels})[0]
    with torch.no_grad():
        assert np.abs(mean - model.likelihood(z, y).mean.numpy()).max() < 1e-5
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model.training


def test_the_command_and_its_files(tmp_path: Path, digits: ImageSet, monkeypatch, capsys) -> None:
    run = make_run(tmp_path, digits, "--model", "CVAE")
    monkeypatch.setattr(sys, "argv", ["pyrovae", "export", str(run.path)])
    main()
    facts = json.loads((run.path / "onnx" / "model.json").read_text())
    assert (facts["latent_dim"], facts["image_shape"], facts["pixels"]) == (2, [1, 8, 8], "dynamic")
    assert facts["conditional"]
    assert facts["classes"] == [str(k) for k in range(10)]
    assert facts["networks"]["encoder"]["inputs"] == ["x", "y"]
    images = digits.split("test").images[:3].numpy().astype(np.float32) / 255
    content = (run.path / "onnx" / facts["networks"]["encoder"]["file"]).read_bytes()
    mean, variance = run_onnx(content, {"x": images, "y": np.array([1, 2, 3])})
    assert mean.shape == variance.shape == (3, 2)
    assert "from torch's numbers on" in capsys.readouterr().out


def test_a_part_that_cannot_be_converted_is_named(digits: ImageSet, tmp_path: Path, monkeypatch, capsys) -> None:
    class Sorted(torch.nn.Module):
        out_features = 4

        def __init__(self, shapes: pyrovae.Shapes) -> None:
            super().__init__()

        def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
            return torch.linalg.eigvals(x.flatten(1)[:, :16].unflatten(1, (4, 4))).real

    model = pyrovae.VAE((1, 8, 8), 2, encoder=Sorted)
    split = fixed_split(digits.split("test"), "dynamic").take(range(5))
    found = export_networks(model, split)
    assert set(found.files) == {"decoder"}
    assert found.missing["encoder"].startswith("torch cannot convert it (")
    assert "encode with pyrovae.load(run).posterior(x) in Python instead" in found.missing["encoder"]


def test_other_numbers_are_refused(digits: ImageSet, monkeypatch) -> None:
    real = onnx_files.run_onnx
    monkeypatch.setattr(onnx_files, "run_onnx", lambda content, inputs: [each + 0.01 for each in real(content, inputs)])
    split = fixed_split(digits.split("test"), "dynamic").take(range(5))
    with pytest.raises(ValueError, match=r"the encoder's mean is 0\.01 away from torch's by onnxruntime"):
        export_networks(pyrovae.VAE((1, 8, 8), 2), split)


@pytest.mark.parametrize("command", ["export", "explore"])
def test_what_cannot_be_exported(command: str, digits: ImageSet, tmp_path: Path, monkeypatch, capsys) -> None:
    run = make_run(tmp_path, digits)

    def refused(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["pyrovae", command, *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    assert "is no run of pyrovae" in refused(str(tmp_path))
    assert "does not exist" in refused(str(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("")
    wrong = {"export": "--out must be a folder", "explore": "--out must be a file that ends in .html"}[command]
    assert wrong in refused(str(run.path), "--out", str(tmp_path / "file"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnxruntime"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__
    monkeypatch.setattr(
        onnx_files,
        "import_module",
        lambda name: (_ for _ in ()).throw(ImportError(name)) if name == "onnxruntime" else real(name),
    )
    assert "ONNX needs the package onnxruntime, which cannot be imported: pip install 'pyrovae[export]'" in refused(
        str(run.path)
    )


def test_who_has_the_files_alone_can_scale_values_and_undo_it(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal([5, 2000], [0.1, 300], (40, 2))
    data = from_values(values, columns=["length", "weight"])
    run = Run(tmp_path, pyrovae.VAE(data.image_shape, likelihood=pyrovae.likelihoods.Normal), data, "none")
    scaling = json.loads(json.dumps(describe(run, Exported({}, {}))))["scaling"]
    assert scaling["columns"] == ["length", "weight"]
    x = (values - scaling["shift"]) / scaling["scale"]
    np.testing.assert_allclose(x, data.images[:, 0, 0], rtol=1e-5, atol=1e-5)
