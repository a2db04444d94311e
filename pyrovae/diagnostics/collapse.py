"""Posterior collapse: no latent dimension depends on the image."""


def collapse_warning(active: int, latent_dim: int, kl: float) -> str | None:
    """A warning with remedies if the posterior has collapsed, otherwise None."""
    if active > 0:
        return None
    return (
        f"the posterior has collapsed: none of the {latent_dim} latent dimensions depends on the image "
        f"(KL {kl:.2g} nats); try a KL warm-up (--objective.warmup 0.2), a smaller --objective.beta, "
        f"or a lower learning rate"
    )
