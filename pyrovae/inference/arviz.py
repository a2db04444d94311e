"""ArviZ's diagnostics of chains."""

from __future__ import annotations

import numpy as np

from pyrovae.engine.arviz import arviz_and_xarray


def r_hat(values: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat of chains, (chains, draws, ...): (...).

    References:
        A. Vehtari et al., Rank-normalization, folding, and localization: an improved R-hat (2021), Bayesian Analysis
        16.
    """
    arviz, _ = arviz_and_xarray()
    dataset = arviz.convert_to_dataset({"values": values.astype(np.float64)})
    with np.errstate(invalid="ignore", divide="ignore"):  # constant chains give NaN
        return arviz.rhat(dataset, method="rank")["values"].values


def effective_size(values: np.ndarray) -> np.ndarray:
    """Effective number of draws for the mean of chains, (chains, draws, ...): (...).

    It is capped at the number of draws. Antithetic chains can exceed it, but so can a noisy estimate.
    """
    arviz, _ = arviz_and_xarray()
    dataset = arviz.convert_to_dataset({"values": values.astype(np.float64)})
    found = arviz.ess(dataset, method="mean")["values"].values
    return np.clip(np.nan_to_num(found, nan=1.0), 1.0, values.shape[0] * values.shape[1])
