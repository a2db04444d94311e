"""The trainings of a study, by budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SQUARED_ERROR = ("Normal", "--model.likelihood.scale", "0.70710678")
"""A likelihood whose -log p(x | z) is the squared error summed over the pixels, up to a constant: N(x; x̂, 1/2)."""


BudgetName = Literal["quick", "standard", "full"]

MANY_LABELS = ("emnist:balanced", "fonts:auto")
"""Sets of many labels, which the fifth document proposes for further work; the first one that is at hand is taken."""
MANY_LABELS_DIMS = (2, 10, 20)
"""Dimensions of their codes: the fifth document's."""
CORRELATED_DIMS = (2, 10)
"""Dimensions of the codes whose posteriors have a full covariance."""
KIND_DIM = 10
"""Dimensions of the codes of the kinds of autoencoders."""
NOISE = 0.5
"""Standard deviation of the noise on the denoising autoencoder's images."""
KINDS = {
    "plain": (),
    "denoising": (),
    "sparse": ("--objective", "Sparse", "--objective.sparsity", "1"),
    "contractive": ("--objective", "Contractive", "--objective.contraction", "1", "--objective.probes", "1"),
}
"""The kinds of autoencoders and their objectives."""


@dataclass(frozen=True)
class Recipe:
    """One training of a study.

    Attributes:
        name: The run's folder.
        options: Its options of `scripts/svi_train.py`, without the output folder.
        cost: Cost of one step relative to the cheapest network, for the progress bar.
    """

    name: str
    options: tuple[str, ...]
    cost: int = 1


@dataclass(frozen=True)
class Budget:
    """Sizes and lengths of a study.

    Attributes:
        name: What it is called.
        data: The image set.
        epochs: Epochs of the fully connected nets.
        batch_size: Images in a step, unless a document states it.
        seeds: Seeds of the runs that are repeated.
        plane_seeds: Seeds of the 2-D VAE and CVAE, whose planes differ most from training to training; these begin with
            `seeds`.
        hidden: Units of the hidden layer of the fully connected nets.
        conv_epochs: Epochs of the convolutional nets of the fourth document.
        conv_channels: Channels of their strided convolutions.
        embedding: Dimensions of their code; the fourth document's is 64.
        betas: The grid of β for a squared error summed over the pixels; 0 first.
        weights: The grid of the third document's weight of the squared error, which is a mean over the pixels.
        four_layer_epochs: Epochs of the convolutional nets of the fifth document, which has 50.
        four_layer_channels: Channels of their convolutions; the document has 32, 64, 64 and 64.
        four_layer_dims: Dimensions of their codes; the document has 2, 10 and 20.
        long_epochs: Epochs of a fully connected net with the fifth document's optimiser and batches.
        classifier_epochs: Epochs of the classifier of images.
        images: Maximum number of test images, and number of samples.
        engine: The engine; see `Trainer`.
        pixels: Pixels of an image; the third document averages over them.
        learning_rate: Learning rate of Adam.
        many_labels: A set of many labels, or None.
    """

    name: str
    data: str
    epochs: int
    batch_size: int
    seeds: tuple[int, ...]
    plane_seeds: tuple[int, ...]
    hidden: int
    conv_epochs: int
    conv_channels: tuple[int, ...]
    embedding: int
    betas: tuple[float, ...]
    weights: tuple[float, ...]
    four_layer_epochs: int
    four_layer_channels: tuple[int, ...]
    four_layer_dims: tuple[int, ...]
    long_epochs: int
    classifier_epochs: int
    images: int
    engine: str
    pixels: int
    learning_rate: float = 1e-3
    many_labels: str | None = MANY_LABELS[0]

    def recipes(self) -> list[Recipe]:
        """All trainings. Those that most claims need come first."""
        found = [*self._dense(self.seeds[0]), *self._planes(), *self._convolutional(), *self._kinds()]
        for seed in self.seeds[1:]:
            found += self._dense(seed)
        return [*found, *self._correlated(), *self._more_planes(), *self._rmsprop(), *self._many_labels()]

    def _dense(self, seed: int) -> list[Recipe]:
        """VAEs and CVAEs of one hidden layer, over the dimensions of the code, of the first and the fifth document."""
        return [
            self._seeded(model, dim, seed)
            for model, dims in (("VAE", (2, 5, 10, 20)), ("CVAE", (2, 5)))
            for dim in dims
        ]

    def _more_planes(self) -> list[Recipe]:
        """The 2-D VAE and CVAE of the seeds that no other model has."""
        more = [seed for seed in self.plane_seeds if seed not in self.seeds]
        return [self._seeded(model, 2, seed) for seed in more for model in ("VAE", "CVAE")]

    def _seeded(self, model: str, dim: int, seed: int) -> Recipe:
        name = f"{model.lower()}-{dim}d-seed{seed}"
        return self._dense_recipe(name, model, dim, "CrossEntropy", "--seed", str(seed))

    def _correlated(self) -> list[Recipe]:
        """The second document's "true multivariate Gaussian model": posteriors with a full covariance."""
        return [
            self._dense_recipe(
                *(f"full-{dim}d-seed{seed}", "VAE", dim, "CrossEntropy"),
                *("--model.posterior", "FullNormal", "--seed", str(seed)),
            )
            for seed in self.seeds
            for dim in CORRELATED_DIMS
        ]

    def _kinds(self) -> list[Recipe]:
        """The second document's kinds of autoencoders: undercomplete, denoising, sparse and contractive."""
        noisy = ("--model.encoder.network.hidden", _listed((self.hidden,)), "--model.encoder.level", f"{NOISE:g}")
        damaged = ("--model.encoder", "Denoising", "--model.encoder.network", "MLPEncoder", *noisy)
        whole = ("--model.encoder.hidden", _listed((self.hidden,)))
        return [
            Recipe(
                kind_name(kind),
                (
                    *("--model", "Autoencoder", "--model.latent_dim", str(KIND_DIM)),
                    *(damaged if kind == "denoising" else whole),
                    *("--model.decoder.hidden", _listed((self.hidden,)), "--model.likelihood", "CrossEntropy"),
                    *self._common(self.epochs, self.batch_size),
                    *objective,
                ),
                4,
            )
            for kind, objective in KINDS.items()
        ]

    def _planes(self) -> list[Recipe]:
        """The second document's three panels and six dimensions, and the third document's weights."""
        alone = ("--objective.reconstruction_weight", "0")
        weighted = [
            self._dense_recipe(
                weight_name(r), "VAE", 2, *SQUARED_ERROR, "--objective.reconstruction_weight", f"{r / self.pixels:.6g}"
            )
            for r in self.weights
        ]
        return [
            self._dense_recipe("autoencoder-2d", "Autoencoder", 2, "CrossEntropy"),
            self._dense_recipe("kl-only-2d", "VAE", 2, "CrossEntropy", *alone),
            self._dense_recipe("vae-6d", "VAE", 6, "CrossEntropy"),
            *weighted,
        ]

    def _convolutional(self) -> list[Recipe]:
        """The fourth document's autoencoder and its VAEs over β."""
        net = (
            *("--model.latent_dim", str(self.embedding)),
            *("--model.encoder", "ConvEncoder", "--model.encoder.channels", _listed(self.conv_channels)),
            *("--model.decoder", "ConvDecoder", "--model.decoder.hidden", _listed(self.conv_channels[::-1])),
            *("--model.likelihood", *SQUARED_ERROR),
        )
        common = self._common(self.conv_epochs, self.batch_size)
        autoencoder = Recipe("conv-autoencoder", ("--model", "Autoencoder", *net, *common), 24)
        vaes = [
            Recipe(beta_name(beta), ("--model", "VAE", *net, *common, "--objective.beta", f"{beta:g}"), 24)
            for beta in self.betas
        ]
        return [autoencoder, *vaes]

    def _rmsprop(self) -> list[Recipe]:
        """RMSprop and batches of 16: a long training of a fully connected net, and the fifth document's nets."""
        rmsprop = ("--optimizer", "RMSprop", "--optimizer.lr", "0.001")
        channels = self.four_layer_channels
        nets = (
            *("--model.encoder", "FourLayerConvEncoder", "--model.encoder.channels", _listed(channels)),
            *("--model.decoder", "FourLayerConvDecoder", "--model.decoder.hidden", _listed(channels[1::-1])),
            *("--model.likelihood", "CrossEntropy"),
        )
        common = self._common(self.four_layer_epochs, 16)
        hidden = self._hidden()
        long = ("--model", "VAE", "--model.latent_dim", "2", *hidden, "--model.likelihood", "CrossEntropy")
        found = [Recipe("rmsprop-2d", (*long, *self._common(self.long_epochs, 16), *rmsprop))]
        for dim in self.four_layer_dims:
            code = ("--model", "VAE", "--model.latent_dim", str(dim))
            found.append(Recipe(four_layer_name(dim), (*code, *nets, *common, *rmsprop), 6))
        return found

    def _many_labels(self) -> list[Recipe]:
        """The set of many labels that the fifth document proposes."""
        if self.many_labels is None:
            return []
        return [
            self._dense_recipe(many_labels_name(dim), "VAE", dim, "CrossEntropy", data=self.many_labels)
            for dim in MANY_LABELS_DIMS
        ]

    def _dense_recipe(
        self, name: str, model: str, dim: int, likelihood: str, *more: str, data: str | None = None
    ) -> Recipe:
        part = ("--model", model, "--model.latent_dim", str(dim), *self._hidden(), "--model.likelihood", likelihood)
        return Recipe(name, (*part, *self._common(self.epochs, self.batch_size, data), *more), 4)

    def _hidden(self) -> tuple[str, ...]:
        units = _listed((self.hidden,))
        return ("--model.encoder.hidden", units, "--model.decoder.hidden", units)

    def _common(self, epochs: int, batch_size: int, data: str | None = None) -> tuple[str, ...]:
        return (
            *("--data", data or self.data, "--pixels", "none", "--engine", self.engine),
            *("--epochs", str(epochs), "--batch_size", str(batch_size)),
            *(("--optimizer.lr", f"{self.learning_rate:g}") if batch_size == self.batch_size else ()),
        )


def beta_name(beta: float) -> str:
    """The run of one β."""
    return f"conv-beta-{beta:g}"


def weight_name(weight: float) -> str:
    """The run of one of the third document's weights."""
    return f"weight-{weight:g}"


def four_layer_name(dim: int) -> str:
    """The run of the fifth document's net with so many dimensions."""
    return f"four-layer-{dim}d"


def kind_name(kind: str) -> str:
    """The run of one kind of autoencoder."""
    return f"autoencoder-{kind}-{KIND_DIM}d"


def many_labels_name(dim: int) -> str:
    """The run of the set of many labels with so many dimensions."""
    return f"many-labels-{dim}d"


def seeded_names(budget: Budget, name: str) -> list[str]:
    """The runs of a model over the seeds of a budget."""
    planes = name in ("vae-2d", "cvae-2d")
    return [f"{name}-seed{seed}" for seed in (budget.plane_seeds if planes else budget.seeds)]


def _listed(numbers: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, numbers))}]"


BUDGETS: dict[BudgetName, Budget] = {
    "quick": Budget(
        name="quick",
        data="digits",
        epochs=30,
        batch_size=64,
        seeds=(0, 1),
        plane_seeds=(0, 1),
        hidden=64,
        conv_epochs=20,
        conv_channels=(8, 16),
        embedding=16,
        betas=(0, 0.01, 0.1, 1, 10),
        weights=(10, 100, 1000, 10000),
        four_layer_epochs=10,
        four_layer_channels=(8, 16, 16, 16),
        four_layer_dims=(2,),
        long_epochs=50,
        classifier_epochs=40,
        images=1000,
        engine="graph",
        pixels=64,
        learning_rate=3e-3,
        many_labels=None,
    ),
    "standard": Budget(
        name="standard",
        data="mnist",
        epochs=20,
        batch_size=128,
        seeds=(0, 1),
        plane_seeds=(0, 1, 2, 3, 4),
        hidden=256,
        conv_epochs=4,
        conv_channels=(16, 32, 64),
        embedding=64,
        betas=(0, 0.01, 0.1, 1, 10),
        weights=(10, 100, 1000, 10000),
        four_layer_epochs=5,
        four_layer_channels=(8, 16, 16, 16),
        four_layer_dims=(2,),
        long_epochs=50,
        classifier_epochs=4,
        images=5000,
        engine="auto",
        pixels=784,
    ),
    "full": Budget(
        name="full",
        data="mnist",
        epochs=50,
        batch_size=128,
        seeds=(0, 1, 2, 3, 4),
        plane_seeds=(0, 1, 2, 3, 4),
        hidden=256,
        conv_epochs=20,
        conv_channels=(32, 64, 128),
        embedding=64,
        betas=(0, 0.001, 0.01, 0.1, 1, 10),
        weights=(10, 100, 1000, 10000),
        four_layer_epochs=50,
        four_layer_channels=(32, 64, 64, 64),
        four_layer_dims=(2, 10, 20),
        long_epochs=50,
        classifier_epochs=8,
        images=10000,
        engine="auto",
        pixels=784,
    ),
}
"""The budgets by name: minutes on the embedded digits, an hour on MNIST, and the documents' lengths for a GPU."""
