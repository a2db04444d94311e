"""The model and the trainer that a configuration describes."""

import inspect
from dataclasses import fields
from importlib import import_module

import torch
from jsonargparse import Namespace

from pyrovae.factory.parser import training_parser
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import seeded
from pyrovae.shapes import ImageShape
from pyrovae.training import Trainer
from pyrovae.training.footprint import check_weights


def build_model(section: Namespace, image_shape: ImageShape, num_classes: int, seed: int) -> LatentVariableModel:
    """Build the model of a configuration, with weights drawn from `seed`.

    Args:
        section: The parser's `model`: a class path, and init_args with the factories of its parts.
        image_shape: Channels, height and width of the images.
        num_classes: Number of classes of the images.
        seed: Seed of the initial weights.

    Raises:
        NotEnoughMemory: If its weights do not fit into the memory that is left.
        ValueError: If it cannot be built.
    """
    sketch = sketch_model(section, image_shape, num_classes)
    if sketch is not None:
        check_weights(sketch)
    with seeded(seed):
        return _build(section, image_shape, num_classes)


def sketch_model(section: Namespace, image_shape: ImageShape, num_classes: int) -> LatentVariableModel | None:
    """The model of a configuration without memory for its weights; None where a part looks at its values."""
    try:
        with torch.device("meta"):
            return _build(section, image_shape, num_classes)
    except Exception:  # a part of anybody's; what is wrong shows when the model is built
        return None


def _build(section: Namespace, image_shape: ImageShape, num_classes: int) -> LatentVariableModel:
    module, _, name = section.class_path.rpartition(".")
    cls = getattr(import_module(module), name)
    arguments = dict(section.get("init_args") or {})
    if "num_classes" in inspect.signature(cls.__init__).parameters:
        arguments["num_classes"] = num_classes
    return cls(image_shape=image_shape, **arguments)


def build_trainer(settings: Namespace) -> Trainer:
    """The trainer that an instantiated configuration describes."""
    return Trainer(**{field.name: settings[field.name] for field in fields(Trainer)})


def instantiate(config: Namespace) -> Namespace:
    """Turn a parsed configuration's class paths into factories and objects."""
    return training_parser().instantiate(config)
