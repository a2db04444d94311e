"""The experiments of the study, one file each: measurement, table of claims, pictures."""

from typing import Any

from pyrovae.studies.seeds.experiments import (
    ambiguity,
    arithmetic,
    autoencoder,
    conditional,
    convergence,
    covariance,
    dimensions,
    directions,
    downstream,
    kinds,
    labels,
    layout,
    neighbours,
    smoothness,
    style,
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
        style,
        ambiguity,
        smoothness,
        covariance,
        downstream,
        kinds,
        directions,
    )
)
"""In the order of the report."""
