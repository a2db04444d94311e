"""Fetching: torchvision's classes against files served from this disk, and the process that they run in."""

import functools
import gzip
import hashlib
import http.server
import socket
import threading
import time

import pytest

from pyrovae.data import download as module
from pyrovae.data import load_images
from pyrovae.data.download import DownloadError, download, main, why_unreachable
from pyrovae.data.mnist import IDX_SETS


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(fake_idx_set, tmp_path, monkeypatch):
    """Lets torchvision's MNIST download the fake set, from this machine."""
    fake_idx_set("mnist")
    served = tmp_path / "served"
    served.mkdir()
    resources = []
    for path in IDX_SETS["mnist"].files(tmp_path):
        compressed = gzip.compress(path.read_bytes())
        (served / f"{path.name}.gz").write_bytes(compressed)
        resources.append((f"{path.name}.gz", hashlib.md5(compressed).hexdigest()))
    from torchvision.datasets import MNIST

    handler = functools.partial(QuietHandler, directory=served)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setattr(module.socket, "setdefaulttimeout", lambda seconds: None)
    yield served
    server.shutdown()
    server.server_close()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts another program in the place of the one that downloads."""

    def put(text):
        path = tmp_path / "program.py"
        path.write_text(text)
        monkeypatch.setattr(module, "__file__", str(path))

    return put


def test_torchvision_fetches_what_we_read(mirror, tmp_path, capsys):
    root = tmp_path / "root"
    assert main("MNIST", str(root)) == 0
    assert len(load_images("mnist", root, download=False)) == 30


def test_a_damaged_download_is_a_reason_in_one_line(mirror, tmp_path, capsys):
    (mirror / "train-images-idx3-ubyte.gz").write_bytes(b"not what was promised")
    assert main("MNIST", str(tmp_path / "root")) == 1
    reason = capsys.readouterr().out.splitlines()[-1]
    assert reason.startswith("Error downloading train-images-idx3-ubyte.gz: Tried http://127.0.0.1")
    assert "File not found or corrupted" in reason


def test_the_arguments_reach_the_process(program, tmp_path):
    program("import sys, pathlib; pathlib.Path(sys.argv[2]).write_text(' '.join(sys.argv[1:]))")
    download("EMNIST", tmp_path / "root", "letters")
    assert (tmp_path / "root").read_text() == f"EMNIST {tmp_path / 'root'} letters"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("print('Downloading'); print('no such host'); exit(1)", "^no such host$"),
        ("exit(1)", "^no reason given$"),
        ("import time; time.sleep(60)", "^not done within 0.5 s$"),
    ],
)
def test_a_process_that_fails_or_stalls_is_ended_with_a_reason(text, reason, program, tmp_path):
    program(text)
    start = time.monotonic()
    with pytest.raises(DownloadError, match=reason):
        download("MNIST", tmp_path, seconds=0.5 if "sleep" in text else None)
    assert time.monotonic() - start < 10


def test_whether_an_address_answers(tmp_path):
    (tmp_path / "file").write_text("here")
    assert why_unreachable((tmp_path / "file").as_uri(), 5) is None
    assert "No such file" in why_unreachable((tmp_path / "none").as_uri(), 5)


def test_an_address_that_keeps_silent_is_not_waited_for(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        reason = why_unreachable(f"http://127.0.0.1:{server.getsockname()[1]}/file", 0.3)
    assert time.monotonic() - start < 3
    assert reason in ("timed out", "no answer from 127.0.0.1 within 0.3 s")
