"""From a command line and YAML to objects: the only place where a string becomes a class."""

from pyrovae.config.mistakes import fail, run_command
from pyrovae.config.names import GraphEngine, SplitName, part_names
from pyrovae.config.parser import Parser, build_model, build_trainer, instantiate, training_parser
from pyrovae.config.runs import (
    OpenRun,
    RunInfo,
    analysis_device,
    continue_run,
    create_run,
    load,
    load_data,
    open_run,
    open_runs,
    parse_training,
    picture,
    read_config,
    run_info,
)
from pyrovae.config.trainings import Job, build_training, divide_words, finish_run, load_training_data, train_runs

__all__ = [
    "GraphEngine",
    "Job",
    "OpenRun",
    "Parser",
    "RunInfo",
    "SplitName",
    "analysis_device",
    "build_model",
    "build_trainer",
    "build_training",
    "continue_run",
    "create_run",
    "divide_words",
    "fail",
    "finish_run",
    "instantiate",
    "load",
    "load_data",
    "load_training_data",
    "open_run",
    "open_runs",
    "parse_training",
    "part_names",
    "picture",
    "read_config",
    "run_command",
    "run_info",
    "train_runs",
    "training_parser",
]
