"""Command lines and YAML: everything can be set, files round-trip, and mistakes get one line."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import pyrovae
from pyrovae.cli.command import run_command
from pyrovae.data import ImageSet
from pyrovae.data.images import VALIDATION_SHARE, draw_splits
from pyrovae.engine import CompilerError
from pyrovae.factory.build import build_model, build_trainer, instantiate
from pyrovae.likelihoods import CrossEntropy
from pyrovae.models import CVAE, VAE
from pyrovae.networks import ConvEncoder
from pyrovae.runs.config_file import create_run
from pyrovae.runs.loading import analysis_device
from pyrovae.runs.training import build_training, parse_training
from pyrovae.training import RunFolder, Trainer
from pyrovae.training.weights import save_weights


def built(*argv: str, data_shape: tuple[int, int, int] = (1, 8, 8)) -> tuple[Trainer, pyrovae.LatentVariableModel]:
    settings = instantiate(parse_training(argv))
    return build_trainer(settings), build_model(settings.model, data_shape, 10, settings.seed)


def refusal(capsys: pytest.CaptureFixture, *argv: str) -> str:
    """The one line of an error on the command line."""
    with pytest.raises(SystemExit) as stopped:
        run_command(lambda: parse_training(argv))
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def test_defaults() -> None:
    trainer, model = built()
    assert isinstance(model, VAE)
    assert model.shapes.latent_dim == 2
    assert trainer == Trainer(optimizer=trainer.optimizer)
    assert isinstance(trainer.optimizer([torch.nn.Parameter(torch.zeros(1))]), torch.optim.Adam)


def test_every_argument_of_every_part_can_be_set() -> None:
    trainer, model = built(
        *["--model", "CVAE", "--model.latent_dim", "5"],
        *["--model.encoder", "ConvEncoder", "--model.encoder.channels", "[4,6]"],
        *["--model.decoder.hidden", "[9]", "--model.decoder.activation", "Tanh"],
        *["--model.likelihood", "CrossEntropy", "--pixels", "none"],
        *["--optimizer", "RMSprop", "--optimizer.lr", "1e-2"],
        *["--scheduler", "StepLR", "--scheduler.step_size", "3"],
        *["--objective.beta", "4", "--objective.warmup", "0.2", "--batch-size", "16", "--epochs=7"],
    )
    assert isinstance(model, CVAE)
    assert model.shapes == pyrovae.Shapes((1, 8, 8), 5, 10)
    assert isinstance(model.posterior.encoder, ConvEncoder)
    assert model.posterior.encoder.layers[0].out_channels == 4
    assert isinstance(model.likelihood, CrossEntropy)
    assert isinstance(model.likelihood.decoder.layers[1], torch.nn.Tanh)
    optimizer = trainer.optimizer(model.parameters())
    assert isinstance(optimizer, torch.optim.RMSprop)
    assert optimizer.param_groups[0]["lr"] == 1e-2
    assert trainer.scheduler(optimizer).step_size == 3
    assert (trainer.objective.weighting.beta, trainer.objective.weighting.warmup) == (4, 0.2)
    assert (trainer.batch_size, trainer.epochs, trainer.pixels) == (16, 7, "none")


def test_a_yaml_file_and_the_command_line_after_it(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("model: {class_path: CVAE, init_args: {latent_dim: 7}}\nepochs: 3\nbatch_size: 32\n")
    trainer, model = built("--config", str(file), "--epochs", "4")
    assert (model.shapes.latent_dim, trainer.epochs, trainer.batch_size) == (7, 4, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 1\nepochs: 2\n", "is no file of settings: line 2 has the key 'epochs' for the second time"),
        ("model: &a [*a]\n", "line 1 holds itself"),
        ("a: " + "[" * 5000, "line 1 is nested more than 60 levels deep"),
        ("a: \0\n", "unacceptable character"),
        ("[1, 2]\n", "is no file of settings"),
        ("model: null\n", "model must not be null"),
        ("data: null\n", "data must not be null"),
        ("run: 3\n", "run must be a mapping or null, got '3'"),
    ],
    ids=lambda text: text[:12].encode("unicode_escape").decode(),
)
def test_files_of_settings_that_are_none_get_one_line(text: str, message: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "my.yaml").write_text(text)
    assert message in refusal(capsys, "--config", str(tmp_path / "my.yaml"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": None, "seed": True}, "no usable data, seed"),
        ({"validation": True, "image_size": 0}, "no usable validation, image_size"),
        ({"model": [], "pixels": "grey"}, "no usable model, pixels"),
        ({"model": {"class_path": 3}}, "no usable model"),
        ({"runs_dir": None, "name": 3, "data_dir": []}, "no usable data_dir, name, runs_dir"),
        ({"run.class_names": 3}, r"no usable run\.class_names"),
        ({"run.class_names": []}, r"no usable run\.class_names"),
        ({"run.image_shape": [1, 8, "x"]}, r"no usable run\.image_shape"),
        ({"run.image_shape": [1, 8, True]}, r"no usable run\.image_shape"),
        ({"run.format": True}, "has no section 'run' with a format"),
        ({"run.format": -1}, "has no section 'run' with a format"),
        ({"run": []}, "has no section 'run' with a format"),
        ({"seed": 6}, "is not as the training wrote it, by its digest"),
        ({"run.class_names": list("1234567890")}, "is not as the training wrote it, by its digest"),
    ],
    ids=str,
)
def test_entries_of_another_kind_in_a_runs_config(run: RunFolder, changes: dict, message: str) -> None:
    raw = yaml.safe_load(run.config.read_text())
    for name, value in changes.items():
        section = raw["run"] if name.startswith("run.") else raw
        section[name.removeprefix("run.")] = value
    run.config.write_text(yaml.safe_dump(raw))
    for reader in (pyrovae.load, pyrovae.run_info, lambda path: parse_training(["--resume", str(path)])):
        with pytest.raises(ValueError, match=message) as caught:
            reader(run.path)
        assert "\n" not in str(caught.value)


def test_the_command_line_splits_as_the_library_does() -> None:
    assert parse_training(["--data", "digits"]).validation == VALIDATION_SHARE
    assert len(draw_splits(70_000, num_test=10_000, validation=parse_training([]).validation)["validation"]) == 5000


def test_printed_config_works(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_training(["--model", "CVAE", "--model.latent_dim", "3", "--print_config"])
    assert stopped.value.code == 0
    file = tmp_path / "config.yaml"
    file.write_text(capsys.readouterr().out)
    _, model = built("--config", str(file))
    assert model.shapes == pyrovae.Shapes((1, 8, 8), 3, 10)


def test_the_same_seed_builds_the_same_weights() -> None:
    (_, one), (_, same), (_, other) = built("--seed", "3"), built("--seed", "3"), built("--seed", "4")
    weights = [m.posterior.head.weight for m in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epcohs", "3"], "there is no option --epcohs; did you mean --epochs?"),
        (["--model.laten_dim", "3"], "VAE has no argument 'laten_dim'; did you mean latent_dim?; it takes: latent_dim"),
        (
            ["--model", "CVEA"],
            "there is no model 'CVEA'; did you mean CVAE?; a model is one of Autoencoder, CVAE",
        ),
        (["--model.prior", "StandradNormal"], "there is no prior 'StandradNormal'; did you mean StandardNormal?"),
        (
            ["--model.prior", "pyrovae.priors.StandradNormal"],
            "there is no prior 'StandradNormal'; did you mean Standard",
        ),
        (["--model.encoder", "MLP"], "there is no encoder 'MLP'; did you mean"),
        (["--model.encoder.activation", "Rellu"], "there is no activation 'Rellu'; did you mean ReLU?"),
        (["--optimizer", "Adm"], "there is no optimizer 'Adm'; did you mean Adam?"),
        (["--optimizer", "RMSprop", "--optimizer.lrr", "1"], "RMSprop has no argument 'lrr'; did you mean lr?"),
        (["--objective", "TraceElbo"], "there is no objective 'TraceElbo'; did you mean TraceELBO?"),
        (["--objective.betta", "4"], "TraceELBO has no argument 'betta'; did you mean beta?"),
        (["--scheduler", "CosineLR"], "there is no scheduler 'CosineLR'; did you mean"),
        (
            ["--pixels", "dynamc"],
            "pixels must be one of auto, dynamic, fixed, threshold, none, got 'dynamc'; did you mean",
        ),
        (["--epochs", "many"], "epochs must be a whole number or null, got 'many'"),
        (["--seed", "x"], "seed must be a whole number, got 'x'"),
        (["--model.encoder.hidden", "256"], "hidden must be a list, got '256': write [256]"),
        (["--model.encoder.hidden", "(256, 128)"], "hidden must be a list, got '(256, 128)': write [256, 128]"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_get_one_line_with_the_nearest_name(argv: list[str], message: str, capsys) -> None:
    assert message in refusal(capsys, *argv)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model.latent_dim", "0"], "latent_dim must be a whole number of at least 1, got 0"),
        (["--epochs", "0"], "epochs must be a whole number of at least 1, got 0"),
        (["--objective.beta", "-1"], "beta, the weight of the KL term, must be at least 0, got -1"),
        (["--model.encoder", "ConvEncoder", "--model.encoder.channels", "[1,1,1,1]"], "at least 16x16 pixels, got 8x8"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_values_out_of_range_get_one_line(argv: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_command(lambda: built(*argv))
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (CompilerError("no C++ compiler was found; or choose engine='graph'"), "choose engine='graph'\n"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 has"),
            "9 GiB: choose a smaller --batch_size",
        ),
        (MemoryError(), "out of memory: choose a smaller --batch_size"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_machine_lacks_gets_one_line(error: Exception, message: str, capsys) -> None:
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        run_command(command)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_help_explains_each_setting(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parse_training(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in ("The bound that is maximised", "Passes over the training images", "Seconds between two checkpoints"):
        assert words in text
    with pytest.raises(SystemExit):
        parse_training(["--objective.help", "TraceELBO"])
    assert "Weight of the KL term" in " ".join(capsys.readouterr().out.split())
    for argv in (["--model.prior.help", "VampPrior"], ["--model.prior.help=VampPrior"]):
        with pytest.raises(SystemExit):
            parse_training(argv)
        text = capsys.readouterr().out
        assert text.startswith("VampPrior(components=")
        assert "Tomczak" in text
        assert text.endswith("\n\nOptions: --model.prior.components\n")
    with pytest.raises(SystemExit):
        parse_training(["--model.help", "CVAE"])
    text = capsys.readouterr().out
    assert "Number of dimensions of the latent code" in " ".join(text.split())
    assert text.startswith("CVAE(latent_dim=2, encoder=MLPEncoder, ")
    assert "Options: --model.latent_dim, --model.encoder, " in text


def test_a_folder_of_a_training_in_python_says_how_it_is_loaded(tmp_path: Path) -> None:
    weights = RunFolder(tmp_path).last_weights
    weights.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=rf"build the model again .*load_state_dict\(.*{weights.name}'"):
        pyrovae.load(tmp_path)


# -- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, few_digits: ImageSet) -> RunFolder:
    """A run folder with a configuration and weights, as a training leaves it."""
    arguments = parse_training(["--model", "CVAE", "--runs_dir", str(tmp_path), "--name", "run", "--seed", "5"])
    folder = create_run(arguments, few_digits)
    model = build_model(instantiate(arguments).model, few_digits.image_shape, 10, 5)
    save_weights(folder.last_weights, model.state_dict())
    return folder


def mean(run: RunFolder, raw: dict) -> None:
    """Write changed settings as a user does who means the change."""
    own = {name: value for name, value in raw["run"].items() if name != "digest"}
    run.config.write_text(yaml.safe_dump({**raw, "run": {**own, "format": 1}}))


def test_load_gives_the_model_back(run: RunFolder) -> None:
    before = torch.get_rng_state()
    model = pyrovae.load(run.path)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(model, CVAE)
    assert not model.training
    again = pyrovae.load(str(run.path), which="last", device="auto")
    for one, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other.cpu())
    info = pyrovae.run_info(run.path)
    assert (info.data, info.image_shape, info.pixels) == ("few", (1, 8, 8), "dynamic")
    assert info.class_names == tuple("0123456789")


def test_best_weights_are_preferred(run: RunFolder) -> None:
    best = {name: torch.full_like(w, 0.5) for name, w in pyrovae.load(run.path).state_dict().items()}
    save_weights(run.best_weights, best)
    assert pyrovae.load(run.path).posterior.head.bias[0] == 0.5
    assert pyrovae.load(run.path, which="last").posterior.head.bias[0] != 0.5
    with pytest.raises(ValueError, match="which must be 'best' or 'last', got 'first'"):
        pyrovae.load(run.path, which="first")


def test_the_folder_and_its_config(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; runs are folders that"):
        pyrovae.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no config\.yaml: it is no run of pyrovae"):
        pyrovae.load(tmp_path / "empty")
    raw = yaml.safe_load(run.config.read_text())
    raw["run"]["format"], raw["run"]["pyrovae"] = 99, "7.0"
    run.config.write_text(yaml.safe_dump(raw))
    with pytest.raises(ValueError, match=r"written by pyrovae 7\.0, newer than this .*pip install -U pyrovae"):
        pyrovae.load(run.path)
    run.config.write_text("epochs: 3\n")
    with pytest.raises(ValueError, match="has no section 'run'"):
        pyrovae.load(run.path)
    run.config.write_text("a: [1, 2")
    with pytest.raises(ValueError, match=r"config\.yaml is damaged"):
        pyrovae.load(run.path)


def test_a_config_that_was_changed_by_hand(run: RunFolder) -> None:
    whole = yaml.safe_load(run.config.read_text())
    lacking = {name: value for name, value in whole.items() if name != "pixels"}
    lacking["run"] = {name: value for name, value in whole["run"].items() if name != "class_names"}
    run.config.write_text(yaml.safe_dump(lacking))
    for reader in (pyrovae.load, pyrovae.run_info):
        with pytest.raises(ValueError, match=r"config\.yaml has no usable pixels, run\.class_names: put back the file"):
            reader(run.path)
    run.config.write_text(yaml.safe_dump({**whole, "model": None, "seed": "x"}))
    with pytest.raises(ValueError, match=r"config\.yaml has no usable model, seed: put back the file"):
        pyrovae.load(run.path)
    whole["model"]["init_args"]["prior"]["class_path"] = "pyrovae.priors.StandradNormal"
    run.config.write_text(yaml.safe_dump(whole))
    with pytest.raises(ValueError, match=r"config\.yaml is not as the training wrote it, by its digest: put that file"):
        pyrovae.load(run.path)
    mean(run, whole)
    with pytest.raises(ValueError, match="describes no model of this pyrovae: there is no prior") as caught:
        pyrovae.load(run.path)
    assert "did you mean StandardNormal?" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_without_weights_says_so(run: RunFolder) -> None:
    run.last_weights.unlink()
    with pytest.raises(FileNotFoundError, match="stopped before its first checkpoint"):
        pyrovae.load(run.path)


def test_foreign_code_is_not_imported_unless_allowed(run: RunFolder, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "mypriors.py").write_text(
        "import pathlib\n"
        f"pathlib.Path({str(tmp_path / 'imported')!r}).touch()\n"
        "from pyrovae.priors import StandardNormal\n"
        "class Mine(StandardNormal):\n"
        "    'Mine.'\n"
        "    def __init__(self, shapes, width: float = 1.0):\n"
        "        super().__init__(shapes)\n"
        "        self.width = width\n"
    )
    raw = yaml.safe_load(run.config.read_text())
    raw["model"]["init_args"]["prior"] = {"class_path": "mypriors.Mine", "init_args": {"width": 2.0}}
    mean(run, raw)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"needs code that is not pyrovae's: mypriors; if you trust it"):
        pyrovae.load(run.path)
    assert not (tmp_path / "imported").exists()
    assert pyrovae.load(run.path, allow_code=True).prior.width == 2.0
    assert "mypriors" in sys.modules


def test_resuming_keeps_the_settings(run: RunFolder) -> None:
    resumed = parse_training(["--resume", str(run.path), "--epochs", "9", "--device", "cpu"])
    assert (resumed.epochs, resumed.seed, resumed.model.class_path) == (9, 5, "pyrovae.CVAE")
    with pytest.raises(ValueError, match="a resumed run keeps its settings, and here seed: 6 would change"):
        parse_training(["--resume", str(run.path), "--seed", "6"])
    with pytest.raises(ValueError, match="latent_dim: 3 would change"):
        parse_training(["--resume", str(run.path), "--model.latent_dim", "3"])


def test_runs_get_names_of_their_own(tmp_path: Path, few_digits: ImageSet) -> None:
    for expected in ("few-vae-2d", "few-vae-2d-2"):
        arguments = parse_training(["--runs_dir", str(tmp_path)])
        assert create_run(arguments, few_digits).path.name == expected
    arguments = parse_training(["--runs_dir", str(tmp_path), "--name", "few-vae-2d"])
    with pytest.raises(ValueError, match="already holds a run"):
        create_run(arguments, few_digits)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--model.prior VampPrior", "few-vae-2d-vampprior"),
        ("--model.prior StandardNormal --model.encoder.hidden [9]", "few-vae-2d"),
        ("--model.prior Laplace --model.posterior Laplace", "few-vae-2d-laplace-prior-laplace-posterior"),
        ("--model.likelihood Normal --model.latent_dim 5", "few-vae-5d-normal-likelihood"),
        ("--model.encoder ResidualMLPEncoder --model.decoder ResidualMLPDecoder", "few-vae-2d-residualmlp"),
        ("--model.encoder GatedMLPEncoder", "few-vae-2d-gatedmlpencoder"),
        ("--model CVAE --objective ImportanceWeighted", "few-cvae-2d-importanceweighted"),
        ("--model Autoencoder", "few-autoencoder-2d"),
    ],
)
def test_an_automatic_name_tells_the_parts_that_differ(
    options: str, expected: str, tmp_path: Path, few_digits: ImageSet
) -> None:
    arguments = parse_training(["--runs_dir", str(tmp_path), *options.split()])
    folder = create_run(arguments, few_digits)
    assert folder.path.name == expected
    assert parse_training(["--resume", str(folder.path)]).name == expected


def test_the_automatic_name_of_a_set_with_a_long_path_is_that_of_a_folder(tmp_path: Path, few_digits: ImageSet) -> None:
    far = replace(few_digits, name="folder:" + "/".join(["deep" * 30] * 9) + "/photographs")
    path = create_run(parse_training(["--runs_dir", str(tmp_path)]), far).path
    assert path.name.endswith("deep-photographs-vae-2d")
    assert len(path.name) <= 160


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name=a\nb"], "name must have no line breaks and only characters that can be shown, got 'a\\nb'"),
        (["--name=\x1b[31m"], "name must have no line breaks and only characters"),
        (["--name=a\udcff"], "name must have no line breaks and only characters"),
        (["--name=" + "é" * 101], "name must have at most 200 bytes, got 202"),
        (["--name=a", "--runs_dir=a\nb"], "runs_dir must have no line breaks"),
        (["--name=a", "--runs_dir="], "runs_dir must be a folder, got ''"),
    ],
)
def test_a_name_can_be_read_and_written_again(words: list[str], message: str, capsys) -> None:
    assert message in refusal(capsys, *words)


@pytest.mark.parametrize("path", ["", "nowhere.yaml", "/", "a\nb"])
def test_settings_that_cannot_be_read(path: str, capsys) -> None:
    assert "config must be a file of settings (YAML) that can be read, got '" in refusal(capsys, f"--config={path}")


def test_settings_from_a_pipe_are_refused_and_not_waited_for(capsys, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "mine.yaml")
    assert "a pipe or a device: write the settings into a file" in refusal(capsys, f"--config={pipe}")
    assert "a pipe or a device: write the settings into a file" in refusal(capsys, "--config", "/dev/zero")


def test_no_settings_are_settings(capsys) -> None:
    """The empty device is the common way to say so: the next option is looked at."""
    assert "epochs must" in refusal(capsys, "--config", os.devnull, "--epochs", "x")


def test_an_analysis_is_on_cuda_or_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's MPS has no float64."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for cuda, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        assert analysis_device() == expected
    assert analysis_device("cuda:1") == "cuda:1"
    with pytest.raises(ValueError, match="the device must be cpu, got 'mps'"):
        analysis_device("mps")


@pytest.mark.parametrize("name", ["..", "../x", "a/../../b", "/tmp/x", ""])
def test_a_name_stays_in_its_folder(name: str, capsys) -> None:
    assert "name must be that of a folder inside of --runs_dir" in refusal(capsys, f"--name={name}")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model.prior=[]"], "prior must be a class of prior: one of Flow, GaussianMixture"),
        (["--model.posterior=builtins.dict"], "or your own as module.Class; got 'builtins.dict'"),
        (["--model.likelihood=null"], "likelihood of VAE must not be null: leave it out for its default"),
        (["--objective=null"], "objective must be a class of objective: one of BetaTCVAE"),
        (["--optimizer=null"], "optimizer must be a class of optimizer: one of ASGD"),
        (["--scheduler={}"], "LRScheduler is only the base of others: choose one of ConstantLR"),
        (["--model.prior=Prior"], "Prior is only the base of others: choose one of Flow"),
        (["--model.encoder.activation=Module"], "Module is only the base of others: choose any module of torch.nn"),
        (["--seed=null"], "seed must be a whole number, got 'null'"),
        (["--epochs"], "--epochs needs a value behind it"),
        (["x"], "there is a word too many, 'x'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_messages_are_in_plain_words(argv: list[str], message: str, capsys) -> None:
    said = refusal(capsys, *argv)
    assert message in said
    for word in ("collections.abc", "typing.", "<class", "NoneType", "Literal"):
        assert word not in said


def test_optimisers_that_cannot_do_it_are_not_listed(capsys) -> None:
    said = refusal(capsys, "--optimizer", "Adm")
    assert "LBFGS" not in said
    assert "SparseAdam" not in said


def test_a_model_larger_than_memory_is_refused_before_it_is_built(capsys, digits: ImageSet) -> None:
    for option in ("--model.latent_dim=100000000", "--model.encoder.hidden=[100000000]", "--batch_size=100000000"):
        arguments = parse_training([option, "--data", "digits"])
        if "batch_size" in option:
            build_training(arguments, digits)  # no more than there are images
            continue
        with pytest.raises(ValueError, match=r"not enough memory: [\d,]+ weights .* = .*iB, and .*iB are"):
            build_training(arguments, digits)
