"""Each campaign, short and from a seed, and the tables against the parsers: no option is forgotten."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from api_calls import calls, fault, library_calls, part_calls, right_arguments, world  # noqa: E402 - from the folder of this file
from command_options import COMMANDS, PACKING, TRAINING  # noqa: E402

from pyrovae import diagnostics, inference, latent, metrics  # noqa: E402
from pyrovae.factory.parser import Parser, training_parser  # noqa: E402


def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(HERE / script), *words], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_command_lines() -> None:
    ended = run("command_lines.py", "--seed", "4", "--cases", "40")
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]


@pytest.fixture(scope="module")
def tiny() -> object:
    return world()


@pytest.mark.slow
def test_public_functions(tiny) -> None:
    found = [
        f"{call}: {wrong}"
        for call, arguments in calls(tiny)
        if (wrong := fault(getattr(import_module(f"pyrovae.{call.room}"), call.function), **arguments))
    ]
    assert not found, "\n".join(found)


def test_parts_sets_models_and_trainers(tiny) -> None:
    found = [
        f"{type(part).__name__} given wrong {what}: {wrong}"
        for what, part, arguments in (*part_calls(tiny), *library_calls(tiny))
        if (wrong := fault(part, *arguments))
    ]
    assert not found, "\n".join(found)


def test_a_call_that_is_right_is_no_fault_and_one_that_another_library_refuses_is(tiny) -> None:
    import torch

    assert fault(latent.decode, tiny.vae, torch.zeros(1, 2)) == "accepted"
    assert "RuntimeError" in fault(torch.zeros(2).reshape, 3)
    assert "of _numeric/" in (fault(sum, [1, "x"]) or "") or "TypeError" in fault(sum, [1, "x"])


def test_every_checked_function_is_called(tiny) -> None:
    right = right_arguments(tiny)
    for room in (inference, latent, diagnostics, metrics):
        for name in room.__all__:
            if hasattr(getattr(room, name), "__wrapped__"):
                assert name in right, f"{name} is public and no campaign calls it"


def options_of(parser: Parser) -> set[str]:
    ignored = {"help", "config", "print_config", "run", "runs"}
    return {action.dest for action in parser._actions} - ignored


@pytest.mark.parametrize("name", [*sorted(COMMANDS), "pack"])
def test_every_option_of_a_command_is_in_the_table(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Parser] = []

    def parse_args(parser: Parser, *args: object) -> None:
        seen.append(parser)
        raise KeyboardInterrupt

    monkeypatch.setattr(Parser, "parse_args", parse_args)
    with pytest.raises(KeyboardInterrupt):
        import_module(f"pyrovae.cli.{name}").main("A command.")
    assert options_of(seen[0]) == set(COMMANDS[name].options if name != "pack" else PACKING)


def test_every_option_of_a_training_is_in_the_table() -> None:
    top = {name.partition(".")[0] for name in TRAINING}
    found = {name for name in options_of(training_parser()) if "." not in name}
    assert {name.removesuffix(".help") for name in found} - {"model.help"} <= top | {"objective.help", "optimizer.help"}
