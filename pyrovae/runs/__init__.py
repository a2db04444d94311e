"""Runs and their folders: creation, training, loading, listing, figures; one run or many."""

from typing import TYPE_CHECKING

from pyrovae.lazy import exported

if TYPE_CHECKING:
    from pyrovae.runs.config_file import RunInfo, create_run, run_info
    from pyrovae.runs.executors import chosen_executor, dask_cluster, local_processes
    from pyrovae.runs.job import Job
    from pyrovae.runs.jobs import UnfinishedError, train_runs
    from pyrovae.runs.loading import Run, analysis_device, load, load_data, open_run, open_runs
    from pyrovae.runs.rows import load_rows
    from pyrovae.runs.search import SearchResult, search_runs
    from pyrovae.runs.stored import read_config
    from pyrovae.runs.training import build_training, finish_run, load_training_data, open_training, parse_training

__all__ = [
    "Job",
    "Run",
    "RunInfo",
    "SearchResult",
    "UnfinishedError",
    "analysis_device",
    "build_training",
    "chosen_executor",
    "create_run",
    "dask_cluster",
    "finish_run",
    "load",
    "load_data",
    "load_rows",
    "load_training_data",
    "local_processes",
    "open_run",
    "open_runs",
    "open_training",
    "parse_training",
    "read_config",
    "run_info",
    "search_runs",
    "train_runs",
]

__getattr__, __dir__ = exported(
    __name__,
    {
        "pyrovae.runs.config_file": (
            "RunInfo",
            "create_run",
            "run_info",
        ),
        "pyrovae.runs.executors": (
            "chosen_executor",
            "dask_cluster",
            "local_processes",
        ),
        "pyrovae.runs.job": ("Job",),
        "pyrovae.runs.jobs": (
            "UnfinishedError",
            "train_runs",
        ),
        "pyrovae.runs.rows": ("load_rows",),
        "pyrovae.runs.search": (
            "SearchResult",
            "search_runs",
        ),
        "pyrovae.runs.loading": (
            "Run",
            "analysis_device",
            "load",
            "load_data",
            "open_run",
            "open_runs",
        ),
        "pyrovae.runs.training": (
            "build_training",
            "finish_run",
            "load_training_data",
            "open_training",
            "parse_training",
        ),
        "pyrovae.runs.stored": ("read_config",),
    },
)
