"""The completion of a shell offers what the commands take, and starts no Python."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyrovae.cli.commands import COMMANDS
from pyrovae.cli.main import main
from pyrovae.factory.names import part_names

pytest.importorskip("shtab")
ASK = r"""
set -u; source "$1"; shift; PATH=/nonexistent
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
function=$(complete -p pyrovae); function=${function#*-F }; "${function%% *}"
printf '%s\n' "${COMPREPLY[@]}"
"""


def printed(*words: str) -> str:
    """What a command prints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pyrovae", *words])
        from contextlib import redirect_stdout
        from io import StringIO

        with redirect_stdout(StringIO()) as text:
            main()
    return text.getvalue()


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "pyrovae.bash"
    path.write_text(printed("completion", "bash"), encoding="utf-8")
    return path


def offered(script: Path, *words: str) -> set[str]:
    """What bash offers for the last word; no program is found there, so that none can be started."""
    command = [str(shutil.which("bash")), "-c", ASK, "ask", str(script), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    return {line.strip() for line in done.stdout.splitlines() if line.strip()}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("pyrovae", ""), set(COMMANDS)),
        (("pyrovae", "tra"), {"train", "traverse"}),
        (("pyrovae", "evaluate", "--see"), {"--seed"}),
        (("pyrovae", "train", "--model.prior", ""), set(part_names("prior"))),
        (("pyrovae", "train", "--model.prior", "Vamp"), {"VampPrior"}),
        (("pyrovae", "train", "--model.prior.comp"), {"--model.prior.components"}),
        (("pyrovae", "train", "--objective.warm"), {"--objective.warmup"}),
        (("pyrovae", "completion", "z"), {"zsh"}),
    ],
)
def test_bash_offers_names_of_commands_options_and_parts(
    words: tuple[str, ...], expected: set[str], script: Path
) -> None:
    assert expected <= offered(script, *words)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_options(name: str, script: Path) -> None:
    assert len(offered(script, "pyrovae", name, "--")) >= 1 or name == "completion"
    assert not offered(script, "pyrovae", name, "--no-such-option")


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script_too(shell: str) -> None:
    text = printed("completion", shell)
    assert "latent-space" in text
    assert "VampPrior" in text
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=text, text=True, check=True, timeout=20)


def test_without_shtab_the_extra_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setattr("pyrovae.cli.completion.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        printed("completion", "bash")
    assert ended.value.code == 2
    assert "pip install 'pyrovae[completion]'" in capsys.readouterr().err
