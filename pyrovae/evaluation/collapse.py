"""Posterior collapse: latent dimensions that carry nothing about the image."""

from torch import Tensor

ACTIVE_VARIANCE = 0.01
"""A latent dimension is active if its posterior mean varies more than this over the images."""


def active_units(means: Tensor) -> int:
    """Number of latent dimensions whose posterior mean depends on the image, Var_x E_q[z_j | x] > 0.01.

    Args:
        means: Posterior mean of each image, (N, latent_dim).

    References:
        Y. Burda, R. Grosse and R. Salakhutdinov, Importance Weighted Autoencoders (2016), arXiv:1509.00519,
        section 5.2.
    """
    if len(means) < 2:
        return 0
    return int((means.var(0) > ACTIVE_VARIANCE).sum())


def collapse_warning(active: int, latent_dim: int, kl: float) -> str | None:
    """A line that says that the posterior has collapsed and what to try, or None if it has not."""
    if active > 0:
        return None
    return (
        f"the posterior has collapsed: none of the {latent_dim} latent dimensions depends on the image "
        f"(KL {kl:.2g} nats); try a KL warm-up (--objective.warmup 0.2), a smaller --objective.beta, "
        f"or a lower learning rate"
    )
