"""ArviZ, 0.x or 1.x. It is imported on first use because the import takes seconds."""

from __future__ import annotations

import warnings
from typing import Any


class MissingArvizError(ImportError, ValueError):
    """ArviZ is not installed."""


def arviz_and_xarray() -> tuple[Any, Any]:
    """The two packages.

    Raises:
        MissingArvizError: If they are not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # ArviZ 0.x announces 1.x on import
            import arviz
        import xarray
    except ImportError as error:
        raise MissingArvizError("ArviZ is not installed: pip install arviz h5netcdf h5py") from error
    return arviz, xarray
