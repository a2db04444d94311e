"""What is said of models that cannot be sampled."""

from __future__ import annotations


class ModelError(ValueError):
    """A model is not one that Hamiltonian Monte Carlo can sample; names the site and the cure."""
