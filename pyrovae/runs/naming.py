"""The automatic name of a run: its data, its model, and the parts that are not the usual ones."""

import re
from collections.abc import Mapping
from typing import Any

USUAL_PARTS = {
    "encoder": "MLPEncoder",
    "decoder": "MLPDecoder",
    "prior": "StandardNormal",
    "likelihood": "Bernoulli",
    "posterior": "DiagonalNormal",
}
"""The parts of a model of which nothing was said."""
USUAL_OBJECTIVE = "TraceELBO"
LONGEST = 160
"""Characters of the longest automatic name."""


def class_name(chosen: Any) -> str | None:
    """The class of a part of the settings, which is a class path alone or beside its arguments."""
    path = chosen.get("class_path") if isinstance(chosen, dict) else chosen
    return path.rpartition(".")[2] if isinstance(path, str) else None


def unusual_parts(arguments: Mapping[str, Any]) -> dict[str, str]:
    """The parts among a model's arguments that are not the usual ones: class names by their slots."""
    names = {slot: class_name(arguments.get(slot)) for slot in USUAL_PARTS}
    return {slot: name for slot, name in names.items() if name is not None and name != USUAL_PARTS[slot]}


def automatic_name(data: str, model: str, arguments: Mapping[str, Any], objective: str | None) -> str:
    """The name of a run that was given none, such as `mnist-vae-2d-conv-vampprior-normal-likelihood`.

    Args:
        data: Name of the image set.
        model: Class of the model.
        arguments: Its arguments.
        objective: Class of the objective.
    """
    parts = unusual_parts(arguments)
    families = {slot: parts.get(slot, "").removesuffix(slot.title()) for slot in ("encoder", "decoder")}
    words = [data, model, f"{arguments['latent_dim']}d"]
    if families["encoder"] and families["encoder"] == families["decoder"]:
        words.append(families["encoder"])
        parts = {slot: name for slot, name in parts.items() if slot not in families}
    words += [name if name.lower().endswith(slot) else f"{name}-{slot}" for slot, name in parts.items()]
    if objective not in (None, USUAL_OBJECTIVE):
        words.append(str(objective))
    first, *rest = (re.sub(r"[^0-9A-Za-z]+", "-", word).strip("-") for word in [data, *map(str.lower, words[1:])])
    room = LONGEST - len("-".join(["", *rest]))
    return "-".join([first[-max(room, 20) :].strip("-"), *rest])  # of a long path its end
