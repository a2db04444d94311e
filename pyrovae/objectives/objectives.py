"""Training objectives: an estimator of a bound and a weighting of its terms."""

from __future__ import annotations

from pyro.infer.elbo import ELBO
from torch import Tensor

from pyrovae.models import LatentVariableModel
from pyrovae.objectives.estimators import (
    Allowance,
    Estimator,
    FreeNats,
    Gradient,
    MeanField,
    RenyiOfCodes,
    SeveralCodes,
    Traces,
)
from pyrovae.objectives.programs import EnumeratedELBO, FewLabels, MixedPrograms, Programs
from pyrovae.objectives.weighting import Program, Schedule, Weighting
from pyrovae.semi_supervised import SemiSupervisedVAE


class Objective:
    """The loss of a training, in nats per image.

    The subclasses name the usual pairs for the command line and for stored runs.

    Attributes:
        estimator: Estimator of the bound.
        weighting: Weights of its two terms. A bound from several codes is the logarithm of a mean and has no terms to
            weight.
    """

    def __init__(self, estimator: Estimator, weighting: Weighting | None = None) -> None:
        self.estimator = estimator
        self.weighting = weighting or Weighting()

    def __repr__(self) -> str:
        weighting = f", {self.weighting}" if self.additive else ""
        return f"{type(self).__name__}({self.estimator}{weighting})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def additive(self) -> bool:
        """Whether the loss is the sum weight * reconstruction + beta * KL."""
        return self.estimator.additive

    @property
    def codes(self) -> int:
        """Codes of each image in the bound by which weights are judged: k of an importance-weighted bound, else 1."""
        return self.estimator.codes

    @property
    def over_batch(self) -> bool:
        """Whether the loss of a batch is no mean over its images, and so is another one if the batch is cut in two."""
        return self.estimator.over_batch

    def beta_at(self, progress: float) -> float:
        """Weight of the KL term after the share `progress`, 0 to 1, of all training steps."""
        return self.weighting.beta_at(progress)

    def elbo(self) -> ELBO:
        """Pyro's estimator of the bound."""
        return self.estimator.elbo()

    def weighted(self, program: Program) -> Program:
        """The program for `elbo`. Its first argument is the current KL weight, a 0-d tensor."""
        if self.additive:
            return self.weighting.program(program)

        def unweighted_program(beta: Tensor, x: Tensor, y: Tensor | None = None) -> None:
            program(x, y)

        return unweighted_program

    def programs(
        self, model: LatentVariableModel, few: FewLabels | None = None, *, images: int | None = None
    ) -> Programs:
        """What an engine trains of a model.

        Args:
            model: The model.
            few: How a batch is made of images with labels and without; None if all of them have one or none needs one.
            images: Number of training images; None if it is not known.
        """
        weighted = self.weighted(model.model), self.weighted(model.guide)
        if not isinstance(model, SemiSupervisedVAE):
            estimator = self.estimator if images is None else self.estimator.of_set(images)
            return Programs(*weighted, estimator.elbo())
        return MixedPrograms.of(model, weighted, EnumeratedELBO(self.elbo().num_particles), few)

    def check(self, model: LatentVariableModel) -> str | None:
        """A note on this objective with this model, in one line, or None. Called before training.

        Raises:
            ValueError: If the objective does not apply to the model.
        """
        return self.estimator.check(model)


class TraceELBO(Objective):
    """The evidence lower bound by Monte Carlo over traces: loss = weight * reconstruction + beta * KL.

    All arguments but `particles` are those of `Weighting`.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114.

    Args:
        particles: Codes drawn for each image and step.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        beta: float = 1.0,
        reconstruction_weight: float = 1.0,
        warmup: float = 0.0,
        schedule: Schedule = "linear",
        cycles: int = 4,
        particles: int = 1,
    ) -> None:
        super().__init__(Traces(particles), Weighting(beta, reconstruction_weight, warmup, schedule, cycles))


class TraceMeanField(Objective):
    """The ELBO with the KL term in closed form if there is one, otherwise by Monte Carlo.

    All arguments but `particles` are those of `Weighting`.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114, appendix B; G. Roeder,
        Y. Wu and D. Duvenaud (2017), arXiv:1703.09194, on why the closed form may have more gradient noise.

    Args:
        particles: Codes drawn for each image and step.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        beta: float = 1.0,
        reconstruction_weight: float = 1.0,
        warmup: float = 0.0,
        schedule: Schedule = "linear",
        cycles: int = 4,
        particles: int = 1,
    ) -> None:
        super().__init__(MeanField(particles), Weighting(beta, reconstruction_weight, warmup, schedule, cycles))


class FreeBits(Objective):
    """The ELBO with free bits: loss = weight * reconstruction + beta * sum_j max(nats, KL_j).

    KL_j is the mean over the batch of the KL of dimension j, or of the whole code. Below the allowance the KL is not
    reduced further, so the dimension need not collapse. All arguments but the last three are those of `Weighting`.

    References:
        D. P. Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow (2016),
        arXiv:1606.04934, appendix C.8.

    Args:
        particles: Codes drawn for each image and step.
        nats: The allowance, in nats.
        per: Whether the allowance is per dimension, which needs its KL in closed form, or for the whole code.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        beta: float = 1.0,
        reconstruction_weight: float = 1.0,
        warmup: float = 0.0,
        schedule: Schedule = "linear",
        cycles: int = 4,
        particles: int = 1,
        nats: float = 0.1,
        per: Allowance = "dimension",
    ) -> None:
        super().__init__(
            FreeNats(nats, per, particles), Weighting(beta, reconstruction_weight, warmup, schedule, cycles)
        )


class ImportanceWeighted(Objective):
    """The bound log 1/k sum_i p(x, z_i) / q(z_i | x), z_1 ... z_k ~ q. It increases with k towards log p(x).

    The signal-to-noise ratio of the posterior's standard gradient falls with k. The gradients stl and dreg leave out
    the score of the posterior, which has mean zero: stl has low noise but is biased for k > 1, dreg is unbiased.

    References:
        Y. Burda, R. Grosse and R. Salakhutdinov, Importance Weighted Autoencoders (2016), arXiv:1509.00519; T.
        Rainforth et al., Tighter Variational Bounds are Not Necessarily Better (2018), arXiv:1802.04537; G. Roeder,
        Y. Wu and D. Duvenaud, Sticking the Landing (2017), arXiv:1703.09194; G. Tucker et al., Doubly
        Reparameterized Gradient Estimators (2019), arXiv:1810.04152.

    Args:
        k: Codes drawn for each image and step.
        gradient: Estimator of the posterior's gradient: standard, stl or dreg.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, k: int = 5, gradient: Gradient = "standard") -> None:
        super().__init__(SeveralCodes(k, gradient))


class Renyi(Objective):
    """Rényi's bound, 1 / (1 - alpha) log 1/k sum_i (p(x, z_i) / q(z_i | x))^(1 - alpha), from k codes z_i ~ q.

    alpha = 0 is the importance-weighted bound, which is mass-covering. alpha -> 1 is the ELBO, which is mode-seeking.
    Larger alpha is more so.

    References:
        Y. Li and R. E. Turner, Rényi Divergence Variational Inference (2016), arXiv:1602.02311.

    Args:
        alpha: Order of the divergence, at least 0 and not 1.
        k: Codes drawn for each image and step.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, alpha: float = 0.5, k: int = 5) -> None:
        super().__init__(RenyiOfCodes(alpha, k))
