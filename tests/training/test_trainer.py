"""Training: it learns, repeats, resumes to the bit, leaves the world alone, and says what went wrong."""

import copy
import json
import math
import os
import shutil
import signal
import threading
from pathlib import Path

import pyro
import pytest
import torch
from torch import nn

from pyrovae import CVAE, VAE, Autoencoder, ImportanceWeighted, TraceELBO, Trainer
from pyrovae.data import ImageSet, fixed_split
from pyrovae.inference import importance_weighted
from pyrovae.inference.importance import bound_of_codes
from pyrovae.likelihoods import CrossEntropy
from pyrovae.training import History, Interrupted, RunFolder
from pyrovae.training import loop as loop_module
from pyrovae.training import trainer as trainer_module
from pyrovae.training.checkpoint import load_checkpoint
from pyrovae.training.weights import load_weights

FAST = {"engine": "pyro", "batch_size": 64}


def fit(data: ImageSet, folder: object = None, resume: bool = False, model: object = None, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model or VAE(data.image_shape, 2)
    trainer = Trainer(**{**FAST, "epochs": 3, **settings})
    history = trainer.fit(model, data, folder, resume=resume, progress=False)
    return model, history


def assert_equal_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


def test_training_improves_the_bound_and_logs_its_parts(few_digits: ImageSet) -> None:
    _model, history = fit(few_digits, epochs=15, objective=TraceELBO(beta=0.5, reconstruction_weight=2.0))
    assert len(history) == 15
    bound = history.column("validation_negative_elbo")
    assert bound[-1] < bound[0] - 5
    parts = 2.0 * history.column("loss_reconstruction") + 0.5 * history.column("loss_kl")
    assert history.column("loss") == pytest.approx(parts, rel=1e-5)
    for split in ("train", "validation"):
        total = history.column(f"{split}_reconstruction") + history.column(f"{split}_kl")
        assert history.column(f"{split}_negative_elbo") == pytest.approx(total, rel=1e-6)
        per_dim = history.column(f"{split}_kl_0") + history.column(f"{split}_kl_1")
        assert history.column(f"{split}_kl") == pytest.approx(per_dim, rel=1e-5)
    assert list(history.column("epoch")) == list(range(1, 16))
    assert list(history.column("step")) == [4 * e for e in range(1, 16)]


@pytest.mark.parametrize("k", [1, 7])
def test_the_bound_that_is_trained_is_the_one_that_is_watched(few_digits: ImageSet, tmp_path: Path, k: int) -> None:
    """Importance weighting widens the posterior, so that the ELBO may be best in the first epoch."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    model, history = fit(few_digits, folder, epochs=4, objective=ImportanceWeighted(k))
    column = "validation_negative_bound" if k > 1 else "validation_negative_elbo"
    assert ("validation_negative_bound" in history) == (k > 1)
    split = fixed_split(few_digits.split("validation"), "dynamic")
    bounds = history.column(column)
    if k > 1:
        assert (bounds < history.column("validation_negative_elbo")).all()
        found = importance_weighted(model, split, k, seed=1)
        assert bounds[-1] == pytest.approx(-found.mean, abs=0.5)
        assert bounds[-1] == pytest.approx(-bound_of_codes(model, split, k, seed=0), abs=1e-4)
    load_weights(folder.best_weights, model)
    best = -bound_of_codes(model, split, k, seed=0)
    assert best == pytest.approx(bounds.min(), abs=1e-4 if k > 1 else 1.0)


def test_a_row_of_an_older_version_may_lack_a_column(tmp_path: Path) -> None:
    History(rows=[{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 2.0, "validation_negative_bound": 1.5}]).save(
        tmp_path / "metrics.csv"
    )
    assert (tmp_path / "metrics.csv").read_text() == "epoch,loss,validation_negative_bound\n1,2.5,\n2,2,1.5\n"


def test_few_codes_give_the_bound_of_many_images(few_digits: ImageSet) -> None:
    """However many are decoded at a time; nothing of the model or the generators changes."""
    torch.manual_seed(0)
    model, split = VAE(few_digits.image_shape, 2), fixed_split(few_digits.split("test"), "dynamic")
    before = torch.get_rng_state()
    found = bound_of_codes(model, split, 300)
    assert torch.equal(before, torch.get_rng_state())
    assert found == bound_of_codes(model, split, 300)
    assert found == pytest.approx(importance_weighted(model, split, 300).mean, abs=0.2)


def test_loss_is_weighted_by_images_not_batches(few_digits: ImageSet) -> None:
    """With a learning rate of zero the epoch's loss is the mean over all images, whatever the batch size."""
    still = {"optimizer": lambda p: torch.optim.SGD(p, lr=0.0), "epochs": 1, "pixels": "threshold"}
    losses = [
        fit(few_digits, model=Autoencoder(few_digits.image_shape, 2), batch_size=size, **still)
        for size in (64, 199, 200)
    ]
    models = [model for model, _ in losses]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    values = [
        fit(few_digits, model=model, batch_size=size, **still)[1].column("loss")[0]
        for model, size in zip(models, (64, 199, 200), strict=True)
    ]
    assert values[1:] == pytest.approx(values[:1] * 2, rel=1e-5)


def test_same_seed_same_bits_and_another_seed_others(few_digits: ImageSet) -> None:
    (one, first), (same, second), (other, _) = (fit(few_digits, seed=seed) for seed in (1, 1, 2))
    assert_equal_weights(one, same)
    assert list(first.column("loss")) == list(second.column("loss"))
    assert not torch.equal(one.posterior.head.weight, other.posterior.head.weight)


def test_the_world_is_left_alone(few_digits: ImageSet) -> None:
    before = torch.get_rng_state()
    fit(few_digits)
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(pyro.get_param_store())


def test_two_models_train_side_by_side_and_again(few_digits: ImageSet) -> None:
    vae, _ = fit(few_digits, epochs=1)
    start = copy.deepcopy(vae)
    _cvae, history = fit(few_digits, model=CVAE(few_digits.image_shape, 10, 2), epochs=2)
    assert_equal_weights(vae, start)
    vae, again = fit(few_digits, model=vae, epochs=8)
    assert again.column("loss")[-1] < history.column("loss")[0]
    assert len(history) == 2


@pytest.mark.parametrize("engine", ["pyro", "graph"])
def test_a_resumed_run_ends_bit_equal(few_digits: ImageSet, tmp_path, monkeypatch, engine: str) -> None:
    """Killed in the middle of an epoch, after a checkpoint in the middle of that epoch."""
    settings = {
        "engine": engine,
        "scheduler": lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.7),
        "objective": TraceELBO(warmup=0.5),
        "checkpoint_every": 0.0,
    }
    monkeypatch.setattr(loop_module, "READ_EVERY", 0.0)
    whole, expected = fit(few_digits, RunFolder.create(tmp_path / "whole"), **settings)

    folder = RunFolder.create(tmp_path / "cut")
    steps = iter(range(100))
    update = loop_module.Loop._update

    def dies_at_step_six(self, chunk):
        if next(steps) == 6:
            raise MemoryError("killed")
        return update(self, chunk)

    monkeypatch.setattr(loop_module.Loop, "_update", dies_at_step_six)
    with pytest.raises(MemoryError):
        fit(few_digits, folder, **settings)
    monkeypatch.setattr(loop_module.Loop, "_update", update)
    state = torch.load(folder.checkpoint, weights_only=True)
    assert (state["epoch"], state["batch"]) == (1, 2)

    resumed, history = fit(few_digits, folder, resume=True, **settings)
    assert_equal_weights(whole, resumed)
    for name in ("loss", "loss_kl", "validation_negative_elbo", "learning_rate", "beta"):
        assert list(history.column(name)) == list(expected.column(name)), name
    for file in ("model.safetensors", "model.best.safetensors"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_the_checkpoint_is_the_truth_and_the_rest_is_mended(few_digits: ImageSet, tmp_path) -> None:
    """Weights and metrics ahead of it, behind it, damaged or gone; and the last checkpoint damaged."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit(few_digits, whole, epochs=4, checkpoint_every=0.0)
    fit(few_digits, cut, epochs=3, checkpoint_every=0.0)
    folder = RunFolder(cut)
    (cut / "metrics.csv").write_text("epoch,loss\n1,0\n")
    folder.best_weights.unlink()
    folder.last_weights.write_bytes(folder.last_weights.read_bytes()[:-3])
    fit(few_digits, cut, resume=True, epochs=3, checkpoint_every=0.0)  # there is nothing left to train
    expected = [row.rsplit(",", 2)[0] for row in (whole / "metrics.csv").read_text().splitlines()]
    assert [row.rsplit(",", 2)[0] for row in folder.metrics.read_text().splitlines()] == expected[:-1]
    for damage in (b"", folder.checkpoint.read_bytes()[:-1000], bytes(1000) + folder.checkpoint.read_bytes()[1000:]):
        copy = tmp_path / f"copy{len(damage)}"
        shutil.copytree(cut, copy)
        (copy / "checkpoint.pt").write_bytes(damage)
        fit(few_digits, copy, resume=True, epochs=4, checkpoint_every=0.0)
        for file in ("model.safetensors", "model.best.safetensors"):
            assert (copy / file).read_bytes() == (whole / file).read_bytes()
        assert load_checkpoint(RunFolder(copy))["epoch"] == 4


def test_a_damaged_checkpoint_does_not_replace_the_whole_one_before_it(few_digits: ImageSet, tmp_path, capsys) -> None:
    fit(few_digits, tmp_path / "run", epochs=3, checkpoint_every=0.0)
    folder = RunFolder(tmp_path / "run")
    folder.checkpoint.write_bytes(b"damaged")
    before = folder.previous_checkpoint.read_bytes()
    model = VAE(few_digits.image_shape, 2)
    trainer = Trainer(**FAST, epochs=3, checkpoint_every=1e9)
    trainer.fit(model, few_digits, folder, resume=True)
    assert "checkpoint.pt is damaged or no checkpoint; going on from checkpoint.previous.pt" in capsys.readouterr().out
    assert folder.previous_checkpoint.read_bytes() == before
    assert load_checkpoint(folder)["epoch"] == 3


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (("optimizer", "param_groups", 0, "lr"), "x"),
        (("optimizer", "param_groups", 0, "lr"), None),
        (("optimizer", "param_groups", 0, "betas"), 3),
        (("optimizer", "param_groups", 0, "betas"), [0.9, None]),
        (("optimizer", "param_groups", 0, "params"), []),
        (("optimizer", "param_groups"), []),
        (("scheduler", "last_epoch"), "x"),
        (("scheduler", "step_size"), None),
        (("scheduler",), None),
        (("rng",), {}),
        (("rng", "cpu"), torch.ones(3)),
        (("sums",), {"loss": 1.0}),
        (("batch",), 5),
        (("epoch",), 2),
        (("rows",), []),
        (("engine", "work"), {"calls": 1, "speed": 2}),
        (("engine", "graphs"), {"graph": {"updates": {"x": "y"}}}),
        (("model",), {}),
    ],
    ids=str,
)
def test_a_checkpoint_that_nobody_wrote_ends_in_one_line(few_digits: ImageSet, tmp_path, names, value) -> None:
    """Of version 0.1, which had no digest."""
    settings = {"epochs": 1, "scheduler": lambda o: torch.optim.lr_scheduler.StepLR(o, 1)}
    fit(few_digits, tmp_path, **settings)
    folder = RunFolder(tmp_path)
    folder.previous_checkpoint.unlink(missing_ok=True)
    state = torch.load(folder.checkpoint, weights_only=True)
    del state["digest"]
    node = state
    for name in names[:-1]:
        node = node[name]
    node[names[-1]] = value
    torch.save({**state, "format": "pyrovae checkpoint 1"}, folder.checkpoint)
    with pytest.raises(ValueError, match=r"is damaged: |is the checkpoint of another run than") as caught:
        fit(few_digits, tmp_path, resume=True, **{**settings, "epochs": 2})
    assert "\n" not in str(caught.value)


def test_which_engine_took_the_steps_is_written_down_and_kept(few_digits: ImageSet, tmp_path) -> None:
    fit(few_digits, tmp_path / "run", engine="auto", epochs=2)
    told = json.loads((tmp_path / "run" / "training.json").read_text())
    assert told["engine"] in ("pyro", "graph", "compiled")
    assert sum(told["steps_taken"].values()) == 8
    assert (told["device"], told["threads"]) == ("cpu", torch.get_num_threads())
    fit(few_digits, tmp_path / "run", resume=True, engine="auto", epochs=3)
    more = json.loads((tmp_path / "run" / "training.json").read_text())
    assert more["engine"] == told["engine"]
    assert sum(more["steps_taken"].values()) == 12


def test_another_number_of_threads_is_said(few_digits: ImageSet, tmp_path, capsys) -> None:
    fit(few_digits, tmp_path / "run", epochs=1)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        Trainer(**FAST, epochs=1).fit(VAE(few_digits.image_shape, 2), few_digits, tmp_path / "run", resume=True)
    finally:
        torch.set_num_threads(before)
    words = f"trained by {before} threads so far and now by {before + 1}: rounding may differ"
    assert words in capsys.readouterr().out


def test_when_losses_are_read_does_not_matter(few_digits: ImageSet, monkeypatch) -> None:
    histories = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(loop_module, "READ_EVERY", seconds)
        histories.append(fit(few_digits)[1])
    assert list(histories[0].column("loss")) == list(histories[1].column("loss"))


def test_a_finished_run_resumed_with_more_epochs_goes_on(few_digits: ImageSet, tmp_path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    fit(few_digits, folder, epochs=2)
    _, history = fit(few_digits, folder, resume=True, epochs=4)
    assert list(history.column("epoch")) == [1, 2, 3, 4]


def test_early_stopping_keeps_the_best(few_digits: ImageSet, tmp_path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    sgd = lambda p: torch.optim.SGD(p, lr=0.0)  # noqa: E731
    _, history = fit(few_digits, folder, epochs=50, patience=3, optimizer=sgd)
    assert len(history) == 4
    assert folder.best_weights.exists()


def test_plateau_schedule_follows_the_validation_bound(few_digits: ImageSet) -> None:
    plateau = lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.1, patience=0)  # noqa: E731
    _, history = fit(few_digits, epochs=4, optimizer=lambda p: torch.optim.SGD(p, lr=0.0), scheduler=plateau)
    assert len(history) == 4
    stuck = fit(few_digits, epochs=30, optimizer=lambda p: torch.optim.Adam(p, lr=0.1), scheduler=plateau)[1]
    assert stuck.column("learning_rate")[-1] < 0.1


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "Adamax", "SGD", "AdamW"])
def test_any_torch_optimiser(few_digits: ImageSet, name: str) -> None:
    _, history = fit(few_digits, epochs=3, optimizer=lambda p: getattr(torch.optim, name)(p, lr=1e-3))
    assert history.column("loss")[-1] < history.column("loss")[0]


def test_beta_zero_leaves_the_reconstruction_and_warmup_rises(few_digits: ImageSet) -> None:
    _, history = fit(few_digits, objective=TraceELBO(beta=0.0))
    assert history.column("loss") == pytest.approx(history.column("loss_reconstruction"), rel=1e-6)
    _, history = fit(few_digits, epochs=4, objective=TraceELBO(beta=2.0, warmup=0.5))
    assert list(history.column("beta")) == pytest.approx([1.0, 2.0, 2.0, 2.0])


def test_cross_entropy_is_called_so(few_digits: ImageSet) -> None:
    model = VAE(few_digits.image_shape, 2, likelihood=CrossEntropy)
    _, history = fit(few_digits, model=model, pixels="none", epochs=1)
    assert history.score == "cross-entropy"


def test_no_validation_images_is_fine(digits: ImageSet) -> None:
    data = ImageSet.from_arrays(digits.images[:200], digits.labels[:200], validation=0)
    _, history = fit(data, epochs=1)
    assert "validation_negative_elbo" not in history
    assert "train_negative_elbo" in history
    with pytest.raises(ValueError, match=r"early stopping \(patience\) needs validation images"):
        fit(data, patience=2)


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_epoch_and_step(few_digits: ImageSet, tmp_path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    fit(few_digits, folder, epochs=1)
    explode = lambda p: torch.optim.SGD(p, lr=1e20)  # noqa: E731
    with pytest.raises(
        ValueError, match=r"broke in epoch \d, step \d of 4: .*last good checkpoint.*smaller learning rate"
    ):
        fit(few_digits, folder, epochs=3, optimizer=explode, checkpoint_every=0.0)
    kept = load_checkpoint(folder)["model"].values()
    assert all(bool(torch.isfinite(weight).all()) for weight in kept)


def test_grey_pixels_under_bernoulli_are_found_before_training(few_digits: ImageSet) -> None:
    with pytest.raises(ValueError, match=r"Bernoulli scores pixels that are 0 or 1.*CrossEntropy"):
        fit(few_digits, pixels="none")


def test_checking_changes_neither_the_model_nor_the_random_numbers(few_digits: ImageSet) -> None:
    decoder = nn.Sequential(nn.Linear(2, 64), nn.BatchNorm1d(64), nn.Dropout(), nn.Unflatten(1, (1, 8, 8)))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = decoder

        def forward(self, z: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
            return self.layers(z)

    model = VAE(few_digits.image_shape, 2, decoder=Decoder())
    before, random = copy.deepcopy(model), torch.get_rng_state()
    Trainer(scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1)).check(model, few_digits)
    assert_equal_weights(model, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in model.modules())


def test_a_folder_by_its_path(few_digits: ImageSet, tmp_path) -> None:
    path = tmp_path / "run"
    whole, _ = fit(few_digits, epochs=3)
    fit(few_digits, str(path), epochs=2)
    with pytest.raises(ValueError, match="run is not empty and holds no run of pyrovae: choose another folder"):
        fit(few_digits, path, epochs=2)
    resumed, _ = fit(few_digits, path, resume=True, epochs=3)
    assert_equal_weights(whole, resumed)
    assert RunFolder(str(path)).last_weights.exists()
    with pytest.raises(ValueError, match="SGD"):
        fit(few_digits, tmp_path / "new", optimizer="SGD")
    assert not (tmp_path / "new").exists()


def test_a_torch_device_and_tf32_are_taken(few_digits: ImageSet) -> None:
    _, history = fit(few_digits, epochs=1, device=torch.device("cpu"), precision="tf32")
    _, expected = fit(few_digits, epochs=1)
    assert list(history.column("loss")) == list(expected.column("loss"))


def test_a_missing_compiler_is_found_before_a_folder_is_made(few_digits: ImageSet, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(trainer_module, "missing_compiler", lambda device: "no C++ compiler was found (apt)")
    with pytest.raises(ValueError, match=r"compiled cannot run on cpu: no C\+\+ compiler .*; or choose engine graph"):
        fit(few_digits, tmp_path / "run", engine="compiled", device="cpu")
    assert not (tmp_path / "run").exists()


def test_images_and_classes_must_suit_the_model(few_digits: ImageSet) -> None:
    with pytest.raises(ValueError, match=r"must be an ImageSet, got Tensor: .*pyrovae\.ImageSet\.from_arrays\("):
        Trainer(**FAST).fit(VAE((1, 8, 8), 2), few_digits.images)
    with pytest.raises(ValueError, match=r"takes images of \(1, 28, 28\).*few has \(1, 8, 8\)"):
        fit(few_digits, model=VAE((1, 28, 28), 2))
    with pytest.raises(ValueError, match="knows 4 classes, few has 10"):
        fit(few_digits, model=CVAE((1, 8, 8), 4, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"epochs": "3"}, "epochs must be a whole number of at least 1, got '3'"),
        ({"epochs": 1.5}, "epochs must be a whole number of at least 1, got 1.5"),
        ({"epochs": True}, "epochs must be a whole number of at least 1, got True"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number of at least 1, got 2.5"),
        ({"batch_size": None}, "batch_size must be a whole number of at least 1, got None"),
        ({"patience": 0}, "patience must be a whole number of at least 1, got 0"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295, got -1"),
        ({"seed": 10**19}, "seed must be a whole number from 0 to 4294967295, got 10000000000000000000"),
        ({"checkpoint_every": "often"}, "checkpoint_every must be at least 0 seconds, got 'often'"),
        ({"engine": "fast"}, "engine must be one of auto, compiled, graph, pyro, got 'fast'"),
        ({"pixels": "grey"}, "pixels must be one of auto, dynamic, fixed, threshold, none, got 'grey'"),
        ({"precision": "float16"}, "precision must be one of float32, tf32, bfloat16, got 'float16'"),
        ({"objective": "TraceELBO"}, r"objective must be one of pyrovae's, such as TraceELBO\(\), got 'TraceELBO'"),
        ({"objective": TraceELBO}, r"objective must be one of pyrovae's, such as TraceELBO\(\), got <class"),
        ({"optimizer": "Adam"}, "optimizer must be a class of torch.optim, or a function .*, got 'Adam'"),
        ({"optimizer": torch.optim.Adam([torch.ones(1)])}, "optimizer must be a class .*, got an object of Adam"),
        ({"optimizer": list}, "optimizer must make an optimiser of torch.optim, got one that makes list"),
        ({"optimizer": lambda p: torch.optim.SGD(p, lr=-1.0)}, "optimizer or its scheduler cannot be made: Invalid"),
        ({"scheduler": "StepLR"}, "scheduler must be a function of the optimiser, .*, got 'StepLR'"),
        ({"scheduler": torch.optim.lr_scheduler.StepLR}, "scheduler cannot be made: .* argument: 'step_size'"),
        ({"device": "cuda:7"}, "device 'cuda:7' does not exist here; this machine has"),
        ({"device": "tpu"}, "device 'tpu' does not exist here"),
    ],
)
def test_settings_out_of_range(few_digits: ImageSet, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        fit(few_digits, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": -1.0}, "beta, the weight of the KL term, must be at least 0"),
        ({"beta": math.nan}, "beta, the weight"),
        ({"reconstruction_weight": -1.0}, "reconstruction_weight must be at least 0"),
        ({"warmup": 1.5}, "warmup must be a share of all steps, from 0 to 1, got 1.5"),
        ({"particles": 0}, "particles must be a whole number of at least 1"),
    ],
)
def test_objectives_out_of_range(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TraceELBO(**arguments)


def test_collapse_is_said(few_digits: ImageSet, capsys) -> None:
    model = VAE(few_digits.image_shape, 2)
    Trainer(**FAST, epochs=6, objective=TraceELBO(beta=1000.0)).fit(model, few_digits)
    assert "the posterior has collapsed: it is the prior, whatever the image (KL 0.0" in capsys.readouterr().out


def test_a_distribution_that_pyro_refuses_is_said_in_one_line(few_digits: ImageSet) -> None:
    with pytest.raises(ValueError, match=r"in epoch \d+, step \d of 4: .*scale.*; try a smaller") as caught:
        fit(few_digits, epochs=9, optimizer=lambda p: torch.optim.Adam(p, lr=3.0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_writes_the_checkpoint(few_digits: ImageSet, tmp_path, monkeypatch, number: int) -> None:
    folder = RunFolder.create(tmp_path / "run")
    update = loop_module.Loop._update

    def interrupted(self, chunk):
        if self.steps_done == 5:
            os.kill(os.getpid(), number)
        return update(self, chunk)

    monkeypatch.setattr(loop_module, "READ_EVERY", 0.0)
    monkeypatch.setattr(loop_module.Loop, "_update", interrupted)
    with pytest.raises(Interrupted) as stopped:
        fit(few_digits, folder)
    assert stopped.value.args == (number,)
    state = torch.load(folder.checkpoint, weights_only=True)
    assert (state["epoch"], state["batch"]) == (1, 2)


def test_under_nohup_a_closed_terminal_stops_nothing(few_digits: ImageSet, monkeypatch) -> None:
    update = loop_module.Loop._update

    def hung_up(self, chunk):
        os.kill(os.getpid(), signal.SIGHUP)
        return update(self, chunk)

    monkeypatch.setattr(loop_module.Loop, "_update", hung_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert len(fit(few_digits, epochs=1)[1]) == 1
    finally:
        signal.signal(signal.SIGHUP, before)


def test_training_works_outside_of_the_main_thread(few_digits: ImageSet) -> None:
    done = []
    thread = threading.Thread(target=lambda: done.append(fit(few_digits, epochs=1)))
    thread.start()
    thread.join()
    assert len(done) == 1


def test_tensorboard_without_a_folder(few_digits: ImageSet) -> None:
    with pytest.raises(ValueError, match="TensorBoard events need a run folder"):
        Trainer(**FAST, epochs=1).fit(VAE((1, 8, 8), 2), few_digits, progress=False, tensorboard=True)
