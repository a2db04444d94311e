"""Posterior collapse: codes that carry nothing about the image."""

from __future__ import annotations

COLLAPSED = 0.1
"""KL in nats below which a posterior is the prior: an image says no more than this about its code."""


def collapse_warning(active: int, kl: float) -> str | None:
    """A line that says that the posterior has collapsed to the prior and what to try, or None if it has not.

    The information I(x; z) is at most the KL term. So a small KL is a proof; that no mean varies by much is none, since
    narrow posteriors close together tell images apart too, and a KL of many nats may come from all of them being far
    from the prior.

    Args:
        active: Latent dimensions whose posterior mean depends on the image.
        kl: KL of the posterior from the prior, nats per image.
    """
    if active > 0 or not 0 <= kl < COLLAPSED:
        return None
    return (
        f"the posterior has collapsed: it is the prior, whatever the image (KL {kl:.2g} nats, and the code tells no "
        f"more than that); try a KL warm-up (--objective.warmup 0.2), a smaller --objective.beta, or a lower learning "
        f"rate"
    )
