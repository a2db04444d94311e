"""`pyrovae`: one command that finds the others, quickly; its scripts; what it says to whom."""

import ast
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
from made_runs import make_run

from pyrovae.cli.commands import COMMANDS, GROUPS
from pyrovae.cli.main import main
from pyrovae.data import PixelPolicy
from pyrovae.program import WITHOUT_SCRIPT, command_line, same_again, script_of
from pyrovae.runs import stored

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))


def pyrovae(*words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command in this process."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/pyrovae", *words])
    main()


def test_every_script_is_a_command_and_has_its_words() -> None:
    """The docstring of a script is that of its command, called in the other way."""
    assert sorted(script_of(name) for name in COMMANDS if name not in WITHOUT_SCRIPT) == SCRIPTS
    for name, command in COMMANDS.items():
        if name in WITHOUT_SCRIPT:
            continue
        source = (ROOT / "scripts" / f"{script_of(name)}.py").read_text(encoding="utf-8")
        expected = ast.get_docstring(ast.parse(source), clean=False) or ""
        for other in COMMANDS:
            expected = expected.replace(f"python scripts/{script_of(other)}.py", f"pyrovae {other}")
            expected = expected.replace(f"2 scripts/{script_of(other)}.py", f"2 -m pyrovae {other}")  # for torchrun
            expected = expected.replace(f"scripts/{script_of(other)}.py", f"pyrovae {other}")
        module = ROOT / "pyrovae" / "cli" / f"{command.module}.py"
        assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")), clean=False) == expected


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_shows_its_examples_as_they_are_written(name: str, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        pyrovae(name, "--help", monkeypatch=monkeypatch)
    assert stopped.value.code in (0, None)
    out = capsys.readouterr().out
    module = import_module(f"pyrovae.cli.{COMMANDS[name].module}")
    lines = (module.__doc__ or "").strip().splitlines()
    assert any(line.startswith(f"pyrovae {name}") for line in lines)
    assert "\n".join(lines) in out
    assert "scripts/" not in out
    assert f"usage: pyrovae {name}" in out


def test_the_list_of_commands(monkeypatch, capsys) -> None:
    for words in ([], ["--help"], ["help"]):
        pyrovae(*words, monkeypatch=monkeypatch)
        out = capsys.readouterr().out
        for group in GROUPS.values():
            for name, command in group.items():
                assert f"  {name} " in out
                assert command.summary in out
        assert max(map(len, out.splitlines())) <= 100


LIGHT = """
import sys
sys.argv = ["pyrovae", *sys.argv[1:]]
from pyrovae.cli.main import main
try:
    main()
finally:
    print(sorted({"torch", "pyro", "numpy", "matplotlib"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["list"], ["list", "--help"], ["lits"]])
def test_what_must_be_quick_imports_no_torch(words: list[str], tmp_path: Path, digits) -> None:
    make_run(tmp_path / "runs", digits)
    command = [sys.executable, "-c", LIGHT, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "[]"
    before = os.times()
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    after = os.times()  # processor time of children: what else the machine does has no part in it
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "there is no command 'trian'; did you mean train?"),
        (["latent"], "there is no command 'latent'; did you mean latent-space?"),
        (["--data", "digits"], "the first word must be a command, such as pyrovae train --data"),
        (["generate", "runs/x"], "runs/x does not exist; runs are folders that pyrovae train made"),
        (["generate", "runs/x", "--rows", "x"], "rows must be a whole number, got 'x'"),
        (["list", "nowhere"], "nowhere is no folder"),
        (["list", "--srot", "age"], "there is no option --srot; did you mean --sort?"),
        (["list", "--sort", "x"], "invalid choice: 'x'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_status_2(words: list[str], message: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        pyrovae(*words, monkeypatch=monkeypatch)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert err.startswith("pyrovae")


def test_a_command_may_be_written_as_its_script(monkeypatch, capsys, tmp_path, digits) -> None:
    run = make_run(tmp_path, digits)
    pyrovae("latent_space", str(run.path), "--format", "svg", monkeypatch=monkeypatch)
    assert (run.figures / "class_ellipses.svg").read_text().startswith("<?xml")
    assert "class_ellipses.svg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "train", "again"),
    [
        (["/usr/bin/pyrovae"], "pyrovae train --resume 'my run'", "/usr/bin/pyrovae"),
        (["pyrovae sweep", "--betas", "[1, 2]"], "pyrovae train --resume 'my run'", "pyrovae sweep --betas '[1, 2]'"),
        (["scripts/study.py", "-x"], "python scripts/svi_train.py --resume 'my run'", "python scripts/study.py -x"),
        (
            ["/a b/scripts/study.py"],
            "python '/a b/scripts/svi_train.py' --resume 'my run'",
            "python '/a b/scripts/study.py'",
        ),
        (["/x/ipykernel_launcher.py"], "pyrovae train --resume 'my run'", "/x/ipykernel_launcher.py"),
    ],
)
def test_a_hint_fits_how_it_was_called(argv: list[str], train: str, again: str, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert command_line("train", "--resume", "my run") == train
    assert same_again() == again
    assert command_line("list") == "pyrovae list"


def test_ctrl_c_while_torch_is_imported(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pyrovae", "train", "--data", "digits", "--epochs", "100000"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
        pass
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode in (130, -signal.SIGINT)
    assert err == "pyrovae train: interrupted\n", out + err


def test_what_is_written_down_twice_is_the_same() -> None:
    assert get_args(PixelPolicy) == stored.PIXEL_POLICIES


def test_pictures_of_a_size(monkeypatch, tmp_path, digits, capsys) -> None:
    from PIL import Image

    run = make_run(tmp_path, digits)
    output = tmp_path / "a.png"
    size = ["--size", "[3,2]", "--dpi", "100", "--output", str(output)]
    pyrovae("generate", str(run.path), "--rows", "2", *size, monkeypatch=monkeypatch)
    assert Image.open(output).size == (300, 200)
    for words, message in (
        (["--output", "a.png", "--format", "pdf"], "--output a.png is no file of --format pdf"),
        (["--size", "[100,100]", "--dpi", "1200"], "would have 120,000 × 120,000: choose a smaller"),
        (["--size", "[0,1]"], "size must"),
    ):
        with pytest.raises(SystemExit):
            pyrovae("generate", str(run.path), *words, monkeypatch=monkeypatch)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["list"]])
def test_who_reads_no_further_gets_no_traceback(words: list[str], tmp_path: Path) -> None:
    """As in `pyrovae --help | head -1`."""
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pyrovae", *words]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, env=environment, text=True)
    os.close(write)
    assert "Traceback" not in done.stderr
    assert done.returncode in (2, 141)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("a.xyz", "output must be a file that ends in .png, .svg, .pdf, got 'a.xyz'"),
        ("", "output must be a file that ends in .png, .svg, .pdf, got ''"),
        ("folder.png", "folder.png is a folder, where a file shall be written: choose another --output"),
        ("file/new/a.png", "nothing can be put into file: it is no folder; choose another --output"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_work(
    output: str, message: str, tmp_path, digits, monkeypatch, capsys
) -> None:
    run = make_run(tmp_path / "runs", digits, "--name", "a")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    monkeypatch.setattr("pyrovae.cli.generate.load", lambda *_, **__: pytest.fail("the work had begun"))
    with pytest.raises(SystemExit) as stopped:
        pyrovae("generate", str(run.path), f"--output={output}", monkeypatch=monkeypatch)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"pyrovae generate: error: {message}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "a", "b", "--output="], "output must be a file, got ''"),
        (["compare", "a", "b", "--output=file/a.json"], "nothing can be put into file: it is no folder"),
        (["compare", "a", "./a/../a"], "a comparison needs at least two different runs, got"),
        (["compare", "a", "b", "a/"], "a comparison needs at least two different runs, got a twice"),
        (["explore", "a", "--out=file/a.html"], "nothing can be put into file: it is no folder; choose another --out"),
        (["export", "a", "--out=file/a"], "nothing can be put into file: it is no folder; choose another --out"),
    ],
)
def test_where_the_numbers_go_is_checked_before_the_work(
    words: list[str], message: str, tmp_path, digits, monkeypatch, capsys
) -> None:
    for name in ("a", "b"):
        make_run(tmp_path, digits, "--name", name)
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        pyrovae(*words, monkeypatch=monkeypatch)
    error = capsys.readouterr().err
    assert (stopped.value.code, error.count("\n")) == (2, 1)
    assert message in error


def test_a_single_image_of_many_dimensions_is_explored(tmp_path, digits, monkeypatch) -> None:
    """It has no principal axes."""
    run = make_run(tmp_path, digits, "--name", "a", "--model.latent_dim", "5", "--data", "digits")
    words = [str(run.path), "--images", "1", "--posteriors", "0", "--out", str(tmp_path / "a.html")]
    pyrovae("explore", *words, monkeypatch=monkeypatch)
    assert (tmp_path / "a.html").stat().st_size > 10_000
