"""Streams that are closed, full or of few characters, a folder that is gone, and what the system refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyrovae.program import CURES, in_words

ROOT = Path(__file__).parents[2]
LIST = f"'{sys.executable}' -m pyrovae list"


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=folder, env=environment)


def test_an_error_of_the_system_has_no_number_and_a_cure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "no", tmp_path / "file" / "a", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match="Errno") as raised:
            path.open("rb")
        words = in_words(raised.value)
        assert words.startswith(f"{path}: ")
        assert "Errno" not in words
        assert words.endswith(CURES[raised.value.errno])
    assert in_words(ValueError("a must be b")) == "a must be b"
    assert in_words(OSError("cannot write a: full")) == "cannot write a: full"
    assert in_words(OSError(28, "No space left on device")) == "No space left on device"


def test_a_closed_output_is_no_error(tmp_path: Path) -> None:
    ended = shell(f"{LIST} . >&-", tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_full_disk_behind_the_output_is_one_line(tmp_path: Path) -> None:
    ended = shell(f"{LIST} . > /dev/full", tmp_path)
    assert (ended.returncode, ended.stderr) == (2, "pyrovae list: error: No space left on device\n")


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library writes to standard output would go into it."""
    code = (
        "import os\n"
        "from pyrovae.cli.surroundings import prepare_streams\n"
        "prepare_streams()\n"
        "print(os.open('file', os.O_CREAT | os.O_RDWR), file=open('number', 'w'))\n"
    )
    ended = shell(f"'{sys.executable}' -c \"{code}\" 0<&- 1>&- 2>&-", tmp_path)
    assert ended.returncode == 0
    assert int((tmp_path / "number").read_text()) > 2


def test_every_character_is_shown_in_some_way(tmp_path: Path) -> None:
    (tmp_path / "ä" / "run").mkdir(parents=True)
    (tmp_path / "ä" / "run" / "config.yaml").write_text("")
    ended = shell(f"{LIST} .", tmp_path, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert r"\xe4/run" in ended.stdout


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    ended = shell(f"cd gone && rmdir ../gone && {LIST} .", tmp_path)
    words = "the working folder was removed or moved: change to another one (cd)"
    assert (ended.returncode, ended.stderr) == (2, f"pyrovae list: error: {words}\n")


def test_a_command_whose_output_nobody_reads_ends_as_others_do(tmp_path: Path) -> None:
    code = "from pyrovae.cli import run_command; run_command(lambda: print('x' * 9999, flush=True))"
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, env=environment)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_window_that_there_is_not_is_no_matter(tmp_path: Path) -> None:
    """Commands draw into files."""
    ended = shell(f"'{sys.executable}' -m pyrovae generate nowhere", tmp_path, MPLBACKEND="nonsense")
    assert ended.returncode == 2
    assert ended.stderr.startswith("pyrovae generate: error: nowhere does not exist")
