"""What a training minimises: an estimator of a bound times a weighting of its terms."""

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
from pyrovae.objectives.weighting import Program, Schedule, Weighting


class Objective:
    """What a training minimises, in nats per image.

    The subclasses are names for the usual pairs, of which the command line and stored runs speak.

    Attributes:
        estimator: Of the bound.
        weighting: Of its two terms. A bound from several codes takes the logarithm of a mean, in which there are no
            terms to weight.
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
        """Whether the loss is weight * reconstruction + beta * KL, so that a log may show it as that sum."""
        return self.estimator.additive

    def beta_at(self, progress: float) -> float:
        """Weight of the KL term when the share `progress`, 0 to 1, of all training steps is done."""
        return self.weighting.beta_at(progress)

    def elbo(self) -> ELBO:
        """Pyro's estimator of the bound."""
        return self.estimator.elbo()

    def weighted(self, program: Program) -> Program:
        """The program as `elbo` wants it; its first argument is the current KL weight, a 0-d tensor."""
        if self.additive:
            return self.weighting.program(program)

        def unweighted_program(beta: Tensor, x: Tensor, y: Tensor | None = None) -> None:
            program(x, y)

        return unweighted_program

    def check(self, model: LatentVariableModel) -> str | None:
        """What a user should know of this objective with this model, in a line, or None; to be called before training.

        Raises:
            ValueError: If the objective makes no sense with the model.
        """
        return self.estimator.check(model)


class TraceELBO(Objective):
    """The evidence lower bound by Monte Carlo over traces: loss = weight * reconstruction + beta * KL.

    The arguments but `particles` are those of `Weighting`.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114.

    Args:
        particles: Codes drawn for each image and step.

    Raises:
        ValueError: If an argument is out of its range.
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
    """The ELBO with the KL term in closed form where posterior and prior have one, and by Monte Carlo elsewhere.

    The arguments but `particles` are those of `Weighting`.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes (2014), arXiv:1312.6114, appendix B; G. Roeder,
        Y. Wu and D. Duvenaud (2017), arXiv:1703.09194, on why the closed form is not always the quieter one.

    Args:
        particles: Codes drawn for each image and step.

    Raises:
        ValueError: If an argument is out of its range.
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
    """The ELBO with a part of the KL term for free: loss = weight * reconstruction + beta * sum_j max(nats, KL_j).

    KL_j is the mean over the batch of the KL of dimension j, or of the whole code. A dimension below its allowance is
    not pressed further, so it need not collapse. The arguments but the last three are those of `Weighting`.

    References:
        D. P. Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow (2016),
        arXiv:1606.04934, appendix C.8.

    Args:
        particles: Codes drawn for each image and step.
        nats: What is free, in nats.
        per: Whether each dimension has that allowance, which takes a KL in closed form for each, or the whole code.

    Raises:
        ValueError: If an argument is out of its range.
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
    """The bound log 1/k sum_i p(x, z_i) / q(z_i | x), z_1 ... z_k ~ q: tighter the more codes, log p(x) in the end.

    The more codes, the noisier the gradient of the posterior becomes against its size. The gradients stl and dreg
    leave out (or cancel) the part with mean zero, the score of the posterior: stl is quiet and biased for k > 1, dreg
    is unbiased.

    References:
        Y. Burda, R. Grosse and R. Salakhutdinov, Importance Weighted Autoencoders (2016), arXiv:1509.00519; T.
        Rainforth et al., Tighter Variational Bounds are Not Necessarily Better (2018), arXiv:1802.04537; G. Roeder,
        Y. Wu and D. Duvenaud, Sticking the Landing (2017), arXiv:1703.09194; G. Tucker et al., Doubly
        Reparameterized Gradient Estimators (2019), arXiv:1810.04152.

    Args:
        k: Codes drawn for each image and step.
        gradient: How the posterior's gradient is estimated: standard, stl or dreg.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, k: int = 5, gradient: Gradient = "standard") -> None:
        super().__init__(SeveralCodes(k, gradient))


class Renyi(Objective):
    """Rényi's bound, 1 / (1 - alpha) log 1/k sum_i (p(x, z_i) / q(z_i | x))^(1 - alpha), from k codes z_i ~ q.

    It goes from the importance-weighted bound (alpha = 0), which covers the posterior's mass, through the ELBO
    (alpha -> 1), which seeks its mode, to ever more of that.

    References:
        Y. Li and R. E. Turner, Rényi Divergence Variational Inference (2016), arXiv:1602.02311.

    Args:
        alpha: Order of the divergence, at least 0 and not 1.
        k: Codes drawn for each image and step.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, alpha: float = 0.5, k: int = 5) -> None:
        super().__init__(RenyiOfCodes(alpha, k))
