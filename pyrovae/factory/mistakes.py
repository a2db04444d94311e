"""Error messages of the command line, in one line with the closest name and the choices."""

import inspect
import re
from itertools import pairwise
from pydoc import locate

from jsonargparse import Namespace

from pyrovae.factory.names import BASES, OURS, arguments_of, part_classes, part_names
from pyrovae.hints import nearest
from pyrovae.program import fail


def check_arguments(defaults: Namespace, words: list[str]) -> None:
    """Find an argument that its part does not have."""
    if any(word.startswith(("--config", "--resume")) for word in words):
        return  # the file may name another class than the default
    for word in words:
        slot, _, argument = word.removeprefix("--").partition("=")[0].rpartition(".")
        kind = slot.rpartition(".")[2]
        if not word.startswith("--") or kind not in BASES or argument == "help":
            continue
        default = defaults.get(f"{slot.replace('model.', 'model.init_args.')}.class_path")
        given = [after for before, after in pairwise(words) if before == f"--{slot}"]
        given += [other.partition("=")[2] for other in words if other.startswith(f"--{slot}=")]
        name = given[-1] if given else default or ""
        cls = next((cls for cls in part_classes(kind) if cls.__name__ == name.rpartition(".")[2]), None)
        if cls is None or ("." in name and not name.startswith(OURS)):
            continue
        names = arguments_of(cls)
        if argument not in names:
            listed = ", ".join(names) or "none"
            fail(f"{cls.__name__} has no argument {argument!r}{nearest(argument, names)}; it takes: {listed}")


def check_values(config: Namespace, defaults: Namespace) -> None:
    """Find what jsonargparse lets pass: a null where there must be a value, and a class that is only a base of others.

    Args:
        config: All settings; classes are by their class_path, with their init_args.
        defaults: What they are if nothing is said.

    Raises:
        ValueError: If there is one.
    """
    _check_classes(config)
    for name, value in vars(config).items():
        default = defaults.get(name)
        if value is None and default is not None:
            raise ValueError(f"{name} must not be null: leave it out for its default, {str(default)[:60]!r}")


def _check_classes(node: object) -> None:
    """The same of classes and their arguments, by what their signatures say."""
    if isinstance(node, Namespace):
        node = vars(node)
    if not isinstance(node, dict):
        return
    cls = locate(node["class_path"]) if isinstance(node.get("class_path"), str) else None
    if isinstance(cls, type):
        _check_concrete(cls)
        arguments = node.get("init_args") or {}
        arguments = vars(arguments) if isinstance(arguments, Namespace) else arguments
        name, known = cls.__name__, inspect.signature(cls).parameters
        for argument, value in arguments.items():
            parameter = known.get(argument)
            if value is None and parameter is not None and _refuses_null(parameter):
                raise ValueError(f"{argument} of {name} must not be null: leave it out for its default")
    for value in node.values():
        _check_classes(value)


def _check_concrete(cls: type) -> None:
    """Refuse a class that only is the base of others."""
    slot = next((slot for slot, base in BASES.items() if issubclass(cls, base)), None)
    if slot is not None and (inspect.isabstract(cls) or cls is BASES[slot]):
        raise ValueError(f"{cls.__name__} is only the base of others: choose {_choices(slot)}")


def _refuses_null(parameter: inspect.Parameter) -> bool:
    """Whether neither default nor annotation is None; of other libraries' annotations some are texts."""
    return parameter.default is not None and "None" not in str(parameter.annotation)


WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "dict": "a mapping",
    "tuple": "a list",
    "NoneType": "null",
}
"""What types are called where nobody need know Python."""


def clear(message: str, options: list[str]) -> str:
    """Say in one line what jsonargparse says in many: the nearest name, and what there is."""
    unknown = re.search(r"unrecognized arguments: (.+)", message)
    if unknown:
        name = unknown[1].split()[0].partition("=")[0]
        if not name.startswith("-"):
            return f"there is a word too many, {unknown[1]!r:.80}: values of options follow their names, lists have []"
        return f"there is no option {name}{nearest(name, options)}; --help lists them all"
    file = re.search(r'key "config": (?:File|Path) .*?: (.*)|Unexpected config: ?(.*)', message)
    if file:
        return f"config must be a file of settings (YAML) that can be read, got {file[1] or repr(file[2])}"
    missing = re.search(r"[Aa]rgument (\S+): expected one argument|expected one argument", message)
    if missing:
        return f"{(missing[1] or 'an option')} needs a value behind it"
    slots = re.findall(r'[Kk]ey "([\w.]+)"', message)
    slot = slots[-1].rpartition(".")[2] if slots else ""
    if slot in BASES and re.search(r"import path|no attribute|a callable class|valid subclass|of a subclass", message):
        return _no_such_part(slot, message)
    choices = re.search(r"Expected a typing\.Literal\[(.*?)\]", message)
    if choices:
        names, given = re.findall(r"'([^']+)'", choices[1]), _given(message)
        return f"{slot} must be one of {', '.join(names)}, got {given!r}{nearest(given, names)}"
    given = _given(message)
    if slot and "<class 'collections.abc.Sequence'>" in message:
        return f"{slot} must be a list, got {given!r}: write [{given.strip('()[], ')}]"
    number = re.search(r"Expected a tuple with (\d+) elements", message)
    if slot and number:
        return f"{slot} must be a list of {number[1]} values, got {given!r}"
    kinds = [WORDS.get(kind, "") for kind in re.findall(r"Expected an? <class '(\w+)'>", message)]
    if slot and any(kinds):
        if "a list" in kinds:
            inside = re.search(r"(?:list|tuple)\[(\w+)", message)
            of = {"int": "whole numbers", "float": "numbers", "str": "texts"}.get(inside[1] if inside else "", "values")
            kinds = [
                kind.replace("a list", f"a list of {of}, such as [1,2]") for kind in kinds if kind != "a whole number"
            ]
        return f"{slot} must be {' or '.join(dict.fromkeys(filter(None, kinds)))}, got {given!r}"
    return _without_jargon(message, slot)


def _given(message: str) -> str:
    """The value that a message is about, as it was written."""
    found = re.findall(r"(?:Given|Got) value: ?(.*?)(?:\. Got|\s*$|\n)", message)
    given = found[0].strip()[:80] if found else ""
    return "null" if given == "None" else given


def _no_such_part(slot: str, message: str) -> str:
    """A part that is none: the nearest name, and all that there are."""
    named = re.search(r"Expected a dot import path string: (\S+)", message)
    named = named or re.search(r"module '[\w.]+' has no attribute '(\w+)'", message)
    listed = _choices(slot)
    if named:
        return f"there is no {slot} {named[1]!r}{nearest(named[1], part_names(slot))}; a {slot} is {listed}"
    given = re.search(r"class_path='([^']+)'", _given(message))
    why = re.search(r"No module named '[^']+'", message)
    what = given[1] if given else _given(message)
    return f"{slot} must be a class of {slot}: {listed}; got {what!r}{f' ({why[0]})' if why else ''}"


def _choices(slot: str) -> str:
    """The classes of a slot, in words."""
    ours = "any module of torch.nn" if slot == "activation" else f"one of {', '.join(part_names(slot))}"
    return f"{ours}, or your own as module.Class"


def _without_jargon(message: str, slot: str) -> str:
    """What is left: without the parser's own words, and never more than its first sentences."""
    text = " ".join(message.replace("Parser key", "option").split())
    text = re.sub(r"<class '([\w.]+)'>", lambda kind: WORDS.get(kind[1], kind[1].rpartition(".")[2]), text)
    text = re.sub(r"(?:collections\.abc|typing)\.(\w+)(?:\[.*\])?", r"\1", text)
    text = text.replace("NoneType", "null").replace("Does not validate against any of the Union subtypes", "is none of")
    return text if len(text) < 500 else f"{text[:480]} ..."
