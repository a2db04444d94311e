"""Trainings that several processes and one alone do alike: a table of cases."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from pyrovae import CVAE, VAE, Autoencoder, SemiSupervisedVAE, Trainer, posteriors, priors
from pyrovae.data import ImageSet, keep_labels, load_images
from pyrovae.models import LatentVariableModel
from pyrovae.networks import MLPDecoder, MLPEncoder
from pyrovae.objectives import FreeBits, ImportanceWeighted, Renyi, TraceELBO, TraceMeanField
from pyrovae.training.logger import Logger
from pyrovae.training.processes import ALONE, Processes, Several

CASES: dict[str, Callable[[ImageSet], tuple[LatentVariableModel, ImageSet, dict[str, Any]]]] = {}
SMALL = {"encoder": partial(MLPEncoder, hidden=(16,)), "decoder": partial(MLPDecoder, hidden=(16,))}


def case(name: str, model: Callable[..., LatentVariableModel] = VAE, **settings: Any) -> None:
    """Add a training of the model that is built from an image set."""
    few = settings.pop("labels", None)
    double = settings.pop("double", False)
    parts = settings.pop("parts", {})

    def make(data: ImageSet) -> tuple[LatentVariableModel, ImageSet, dict[str, Any]]:
        if few is not None:
            data = keep_labels(data, few, seed=0)
        torch.manual_seed(0)
        classes = () if model in (VAE, Autoencoder) else (data.num_classes,)
        built = model(data.image_shape, *classes, 3, **{**SMALL, **parts})
        return (built.double() if double else built), data, settings

    CASES[name] = make


class DroppingEncoder(MLPEncoder):
    """With numbers that a network draws."""

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return torch.nn.functional.dropout(super().forward(x, y), 0.3, self.training)


case("vae", engine="graph", epochs=3)
case("by pyro", engine="pyro")
case("auto", engine="auto")
case("compiled", engine="compiled", epochs=4)
case("cvae", CVAE, engine="graph")
case("few labels", SemiSupervisedVAE, labels=30, engine="graph")
case("few labels, few of them", SemiSupervisedVAE, labels=10, batch_size=5, engine="pyro")
case("all labels", SemiSupervisedVAE, engine="pyro")
case("autoencoder", Autoencoder, engine="pyro")
case("vamp prior", parts={"prior": partial(priors.VampPrior, components=4)}, engine="graph")
case("flow prior", parts={"prior": priors.Flow}, engine="pyro")
case("flow posterior", parts={"posterior": posteriors.Flow}, engine="pyro")
case("student posterior", parts={"posterior": posteriors.StudentT}, engine="graph")
case("low rank", parts={"posterior": posteriors.LowRankNormal}, engine="graph")
case("mixture posterior", parts={"posterior": posteriors.Mixture}, engine="pyro")
case("full covariance", parts={"posterior": posteriors.FullNormal}, engine="pyro")
case("mixture prior", parts={"prior": priors.GaussianMixture}, engine="graph")
case("beta", parts={"prior": priors.Uniform, "posterior": posteriors.Beta}, engine="pyro")
case("beta by graph", parts={"prior": priors.Uniform, "posterior": posteriors.Beta}, engine="graph")
case("angles", parts={"prior": priors.VonMises, "posterior": posteriors.WrappedNormal}, engine="pyro")
case("dropout", parts={"encoder": partial(DroppingEncoder, hidden=(13,))}, engine="graph")
case("warm-up", objective=TraceELBO(beta=2, warmup=0.5, schedule="cyclical"), engine="graph")
case("closed KL", objective=TraceMeanField(), engine="graph")
case("particles", objective=TraceELBO(particles=3), engine="graph")
case("free bits", objective=FreeBits(nats=0.02), engine="graph")
case("free bits, particles", objective=FreeBits(nats=0.02, particles=2), engine="pyro")
case("free bits per code", objective=FreeBits(nats=0.05, per="code"), engine="pyro")
case("several codes", objective=ImportanceWeighted(k=3), engine="graph")
case("dreg", objective=ImportanceWeighted(k=3, gradient="dreg"), engine="graph")
case("stl, one code", objective=ImportanceWeighted(k=1, gradient="stl"), engine="pyro")
case("renyi", objective=Renyi(alpha=0.5, k=3), engine="graph")
case("fixed pixels", pixels="fixed", engine="pyro", optimizer=partial(torch.optim.RMSprop, lr=1e-3))
case("bfloat16", precision="bfloat16", engine="graph")
case("odd batches", batch_size=7, engine="graph")
case("a plateau", engine="pyro", scheduler=partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0), epochs=4)
case("patience", engine="pyro", patience=1, epochs=30, optimizer=partial(torch.optim.Adam, lr=0.05))
case("broken", engine="graph", optimizer=partial(torch.optim.SGD, lr=1e8), epochs=3)


def images() -> ImageSet:
    """101 digits and 20 for validation: at 32 in a batch the last one holds 5."""
    whole = load_images("digits")
    return ImageSet.from_arrays(whole.images[:121], whole.labels[:121], name="few", validation=20)


def train(name: str, processes: Processes) -> dict[str, Any]:
    """Train a case; its losses step by step, its rows and its weights."""
    model, data, settings = CASES[name](images())
    losses: list[float] = []
    add = Logger.add

    def noted(self: Logger, sizes: Any, given: Any, seconds: float) -> None:
        losses.extend(loss for loss, _, _ in given)
        add(self, sizes, given, seconds)

    Logger.add = noted  # type: ignore[method-assign]
    trainer = Trainer(**{"epochs": 2, "batch_size": 32, **settings})
    try:
        history = trainer.fit(model, data, progress=False, processes=processes)
    except ValueError as error:
        return {"error": str(error)}
    finally:
        Logger.add = add  # type: ignore[method-assign]
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in history.rows]
    weights = {name: value.double().norm().item() for name, value in model.state_dict().items()}
    return {"losses": losses, "rows": rows, "weights": weights}


def train_all(rank: int, size: int, names: list[str]) -> dict[str, dict[str, Any]]:
    """Train cases as one of several processes."""
    processes = ALONE if size == 1 else Several(dist.HashStore())
    return {name: train(name, processes) for name in names}
