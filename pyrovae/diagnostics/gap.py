"""The guide's q(z | x) against the true posterior, and the parts of their difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch.distributions import Distribution

from pyrovae.checks import Count, Seed, checked
from pyrovae.data import Split
from pyrovae.estimates import PerImage
from pyrovae.inference.arviz import effective_size
from pyrovae.inference.draws import PosteriorDraws
from pyrovae.inference.grid import GridPosterior
from pyrovae.inference.likelihood import LikelihoodEstimate
from pyrovae.inference.local import LocalPosterior, fit_local
from pyrovae.inference.target import Target
from pyrovae.latent import Codes, encode
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen


@dataclass(frozen=True, eq=False)
class Comparison:
    """Guide and true posterior of images, and the inference gap log p(x) - ELBO(q) in its two parts.

    gap = approximation gap (log p(x) - ELBO of the family's best q)
        + amortisation gap (ELBO of the family's best q - ELBO of the encoder's q)

    References:
        C. Cremer, X. Li and D. Duvenaud, Inference Suboptimality in Variational Autoencoders (2018),
        arXiv:1801.03558, section 3.

    Attributes:
        method: How the true posterior and log p(x) were computed, in words.
        score: "NLL" if the likelihood is a density, otherwise the name of the score.
        log_evidence: log p(x).
        elbo: ELBO of the encoder's q.
        best_elbo: ELBO of the best q of the family.
        reverse: KL(p || q).
        truth: Mean, (images, latent_dim), and covariance, (images, latent_dim, latent_dim), of p(z | x).
        guide: The same of the encoder's q.
        best: The same of the best q.
    """

    method: str
    score: str
    log_evidence: PerImage
    elbo: PerImage
    best_elbo: PerImage
    reverse: PerImage
    truth: tuple[np.ndarray, np.ndarray]
    guide: tuple[np.ndarray, np.ndarray]
    best: tuple[np.ndarray, np.ndarray]

    def __len__(self) -> int:
        return len(self.elbo.value)

    @property
    def gap(self) -> PerImage:
        """The whole gap, KL(q || p)."""
        return self.log_evidence - self.elbo

    @property
    def approximation(self) -> PerImage:
        """The approximation gap, KL(best q || p)."""
        return self.log_evidence - self.best_elbo

    @property
    def amortisation(self) -> PerImage:
        """The amortisation gap."""
        return self.best_elbo - self.elbo

    @property
    def _parts(self) -> tuple[PerImage, ...]:
        return self.gap, self.approximation, self.amortisation, self.reverse

    @property
    def shift(self) -> np.ndarray:
        """The guide's mean minus the true one, in true standard deviations, (images, latent_dim)."""
        return (self.guide[0] - self.truth[0]) / _scales(self.truth)

    @property
    def width(self) -> np.ndarray:
        """The guide's standard deviation over the true one, (images, latent_dim)."""
        return _scales(self.guide) / _scales(self.truth)

    def to_dict(self) -> dict[str, Any]:
        """The numbers under their names, for JSON."""
        found: dict[str, Any] = {"method": self.method, "score": self.score, "unit": "nats"}
        for name in ("log_evidence", "elbo", "best_elbo", "gap", "approximation", "amortisation", "reverse"):
            part: PerImage = getattr(self, name)
            each = {key: values.tolist() for key, values in asdict(part).items()}
            found[name] = each | {
                "mean": part.mean.value,
                "mean_error": part.mean.monte_carlo,
                "spread": part.mean.sampling,
            }
        for name in ("truth", "guide", "best"):
            mean, covariance = getattr(self, name)
            found[name] = {"mean": mean.tolist(), "covariance": covariance.tolist()}
        return found

    def table(self, names: Sequence[object] | None = None) -> str:
        """A line per image and one for the mean. `names` label the lines."""
        names = range(len(self)) if names is None else names
        evidence = "log p(x)" if self.score == "NLL" else "log Z"
        heads = " ".join(f"{head:>15}" for head in ("KL(q||p) =", "approximation +", "amortisation", "KL(p||q)"))
        lines = [f"{'image':>6} {evidence:>9} {heads}  shift  width"]
        for i, name in enumerate(names):
            far = self.shift[i][np.abs(self.shift[i]).argmax()]
            odd = self.width[i][np.abs(np.log(self.width[i])).argmax()]
            parts = " ".join(f"{_pm(part.value[i], part.error[i]):>15}" for part in self._parts)
            lines.append(f"{name!s:>6} {self.log_evidence.value[i]:9.2f} {parts}  {far:+5.2f}  {odd:5.2f}")
        if len(self) > 1:
            means = " ".join(f"{_pm(part.mean.value, part.mean.monte_carlo):>15}" for part in self._parts)
            variances = " ".join(f"{f'± {part.mean.sampling:.3f}':>15}" for part in self._parts)
            lines.append(f"{'mean':>6} {self.log_evidence.mean.value:9.2f} {means}")
            lines.append(f"{'':>16} {variances}  sampling error; above it Monte Carlo errors")
        return "\n".join(lines)

    @property
    def remark(self) -> str:
        """A legend of the table."""
        said = "nats; shift of the guide's mean in true standard deviations and ratio of widths, the worst dimension's"
        if self.score != "NLL":
            said += f"; pixels are scored by {self.score}: p(z|x) is the Gibbs posterior exp(-{self.score}) p(z) / Z"
        return f"{said}; truth by {self.method}"

    def __str__(self) -> str:
        return f"{self.table()}\n{self.remark}"


@checked
def compare(
    model: LatentVariableModel,
    split: Split,
    truth: GridPosterior | PosteriorDraws,
    *,
    best: LocalPosterior | None = None,
    evidence: LikelihoodEstimate | None = None,
    samples: Count = 5000,
    seed: Seed = 0,
) -> Comparison:
    """Compare the guide with the true posterior of images.

    log p(x) comes from the grid if there is one. Otherwise it is importance-weighted by the best q and a Student
    distribution with the moments of the draws, or given as `evidence`: `annealed` needs neither draws nor a proposal.

    Args:
        model: The model.
        split: The images of `truth`.
        truth: Result of `quadrature_posterior` or `nuts_posterior`.
        best: Result of `fit_local`, which is called by default.
        evidence: log p(x) of the same images by another method. It is corrected by its first-order bias.
        samples: Codes for each bound.
        seed: Seed of the codes.

    Raises:
        ValueError: If the numbers of images differ.
    """
    _check_same_images(truth, evidence, len(split), samples)
    best = best or fit_local(model, split, seed=seed)
    local = LatentVariableModel(model.shapes, model.prior, model.likelihood, best)
    with frozen(local, seed) as device:
        target = Target.of(model, split, device)
        q, best_q = target.guide(), best(target.x, target.y)
        elbo, best_elbo = _bound(target, q, samples), _bound(target, best_q, samples)
        log_evidence = _evidence(target, best_q, truth, evidence, samples)
        reverse = _reverse(target, q, truth, log_evidence)
    return Comparison(
        _method(truth, evidence, samples),
        model.likelihood.score,
        log_evidence,
        elbo,
        best_elbo,
        reverse,
        truth=(truth.mean, truth.covariance),
        guide=_moments(encode(model, split, batch_size=len(split), seed=seed)),
        best=_moments(encode(local, split, batch_size=len(split), seed=seed)),
    )


def _check_same_images(
    truth: GridPosterior | PosteriorDraws, evidence: LikelihoodEstimate | None, count: int, samples: int
) -> None:
    """Refuse a true posterior or a log p(x) of another number of images."""
    images = truth.z.shape[2] if isinstance(truth, PosteriorDraws) else len(truth.axes)
    if evidence is not None and len(evidence.error) != count:
        raise ValueError(
            f"log p(x) must be of the same images, got {len(evidence.error)} for {count} images: call annealed "
            f"with the images that are compared"
        )
    if images != count or samples < 2:
        raise ValueError(
            f"a comparison needs the truth of the same images and at least 2 samples, got {images} for {count} "
            f"images and {samples} samples"
        )


def _method(truth: GridPosterior | PosteriorDraws, evidence: LikelihoodEstimate | None, samples: int) -> str:
    """How the true posterior and log p(x) were computed, in words."""
    source = truth.source if isinstance(truth, PosteriorDraws) else "quadrature"
    if evidence is not None:
        return f"{source}, log p(x) {evidence.method}"
    return f"{source}, log p(x) by {samples:,} codes" if isinstance(truth, PosteriorDraws) else source


def _bound(target: Target, q: Distribution, samples: int) -> PerImage:
    """The ELBO of q."""
    z = q.sample(torch.Size([samples]))
    logs = target.log_joint_of_many(z) - q.log_prob(z).double()
    return PerImage(logs.mean(0).cpu().numpy(), (logs.std(0) / math.sqrt(samples)).cpu().numpy())


def _evidence(
    target: Target,
    q: Distribution,
    truth: GridPosterior | PosteriorDraws,
    evidence: LikelihoodEstimate | None,
    samples: int,
) -> PerImage:
    """Log p(x): as given, from the grid, or by importance weighting."""
    if evidence is not None:
        return PerImage(evidence.log_likelihood + evidence.bias, evidence.error)
    if isinstance(truth, GridPosterior):
        return PerImage(truth.log_evidence, truth.error)
    return _weighted_evidence(target, q, truth, samples)


def _weighted_evidence(target: Target, q: Distribution, truth: PosteriorDraws, samples: int) -> PerImage:
    """Log p(x), importance-weighted: half of the codes from q, half from a Student distribution fitted to the draws.

    The family's best q tends to be narrower than the posterior, so the variance of its own weights may be infinite.
    """
    proposals = [q]
    if math.isinf(target.ends()[1]):
        dims = truth.z.shape[-1]
        df = 5.0 + dims
        shape = truth.covariance * (df - 2) / df + 1e-10 * np.eye(dims)
        like: dict[str, Any] = {"dtype": target.x.dtype, "device": target.x.device}
        factor = torch.as_tensor(np.linalg.cholesky(shape), **like)
        proposals.append(
            dist.MultivariateStudentT(torch.tensor(df, **like), torch.as_tensor(truth.mean, **like), factor)
        )
    z = torch.cat([p.sample(torch.Size([samples // len(proposals)])) for p in proposals])
    mixture = torch.stack([p.log_prob(z).double() for p in proposals]).logsumexp(0) - math.log(len(proposals))
    logs = target.log_joint_of_many(z) - mixture
    found = logs.logsumexp(0) - math.log(len(z))
    # Delta method: log(mean w) has the variance var(w) / (k mean(w)^2) and lies half of that below log p(x) on average.
    error = (logs - found).exp().std(0) / math.sqrt(len(z))
    return PerImage((found + error.square() / 2).cpu().numpy(), error.cpu().numpy())


def _reverse(
    target: Target, q: Distribution, truth: GridPosterior | PosteriorDraws, log_evidence: PerImage
) -> PerImage:
    """KL(p || q): a sum over the grid, or a mean over the draws."""
    if isinstance(truth, GridPosterior):
        return _reverse_on_grid(truth, q, target.x.device)
    return _reverse_of_draws(truth, target, q, log_evidence)


def _reverse_on_grid(truth: GridPosterior, q: Distribution, device: torch.device) -> PerImage:
    z = torch.as_tensor(truth.points, dtype=torch.float32, device=device)
    log_q = q.log_prob(z).double().cpu().numpy()
    log_p = truth.log_density.reshape(len(truth.axes), -1).T
    value = np.where(truth.weights > 0, truth.weights * (log_p - log_q), 0.0).sum(0)
    return PerImage(value, truth.error)


def _reverse_of_draws(truth: PosteriorDraws, target: Target, q: Distribution, evidence: PerImage) -> PerImage:
    z = torch.as_tensor(truth.flat, device=target.x.device)
    ratios = (target.log_joint_of_many(z) - q.log_prob(z).double()).cpu().numpy()
    each = ratios.reshape(*truth.z.shape[:2], -1)
    size = len(ratios) if truth.independent else effective_size(each)
    return PerImage(ratios.mean(0), ratios.std(0, ddof=1) / np.sqrt(size)) - evidence


def _moments(codes: Codes) -> tuple[np.ndarray, np.ndarray]:
    return codes.means, codes.covariances()


def _scales(moments: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.sqrt(np.diagonal(moments[1], axis1=1, axis2=2))


def _pm(value: float, error: float) -> str:
    return f"{value:.3f} ± {error:.3f}"
