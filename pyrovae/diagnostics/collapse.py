"""Posterior collapse: latent dimensions that carry nothing about the image."""


def collapse_warning(active: int, latent_dim: int, kl: float) -> str | None:
    """A line that says that the posterior has collapsed and what to try, or None if it has not."""
    if active > 0:
        return None
    return (
        f"the posterior has collapsed: none of the {latent_dim} latent dimensions depends on the image "
        f"(KL {kl:.2g} nats); try a KL warm-up (--objective.warmup 0.2), a smaller --objective.beta, "
        f"or a lower learning rate"
    )
