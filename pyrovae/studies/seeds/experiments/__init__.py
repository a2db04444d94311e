"""The experiments of the study, one file each: measurement, table of claims, pictures."""

from typing import Any

from pyrovae.studies.seeds.experiments import (
    arithmetic,
    autoencoder,
    conditional,
    convergence,
    dimensions,
    labels,
    layout,
    neighbours,
    sweep,
    weights,
)
from pyrovae.studies.seeds.study import Experiment

EXPERIMENTS: tuple[Experiment[Any], ...] = tuple(
    module.EXPERIMENT
    for module in (
        dimensions,
        layout,
        neighbours,
        conditional,
        autoencoder,
        sweep,
        weights,
        arithmetic,
        convergence,
        labels,
    )
)
"""In the order of the report."""
