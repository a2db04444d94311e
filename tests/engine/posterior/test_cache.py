"""Compiled densities on disk: found again, damaged, at the same time, and where there can be no folder."""

import multiprocessing
import random
import sys
import time
from pathlib import Path

import pytest
import torch

from pyrovae.engine.posterior.graphs import trace_vector
from pyrovae.engine.posterior.native import cache, library, native_call

SIZE = 3


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "kept")
    library._library.cache_clear()
    yield tmp_path / "kept"
    library._library.cache_clear()


def density(factor):
    def both(u):
        return factor * (u**2).sum(), 2 * factor * u

    return trace_vector(both, torch.zeros(SIZE, dtype=torch.float64))


@pytest.fixture
def compilations(monkeypatch):
    made = []
    compile_ = library._compile
    monkeypatch.setattr(library, "_compile", lambda *args: made.append(1) or compile_(*args))
    return made


def value(factor):
    """The density by a process that has just begun, as far as the library goes."""
    library._library.cache_clear()
    return float(native_call(density(factor), SIZE)(torch.ones(SIZE, dtype=torch.float64))[0])


def test_the_next_process_compiles_nothing(place, compilations):
    assert value(2.5) == value(2.5) == 7.5
    assert len(compilations) == 1
    assert value(3.5) == 10.5
    assert len(compilations) == 2
    assert len(list(place.iterdir())) == 2


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_file_is_made_anew(place, compilations, seed):
    value(2.5)
    (path,) = place.iterdir()
    contents, chance = bytearray(path.read_bytes()), random.Random(seed)
    if seed % 2:
        contents = contents[: chance.randrange(len(contents))]
    else:
        contents[chance.randrange(len(contents))] ^= 1 << chance.randrange(8)
    path.unlink()  # a new file: the old one is at work in this process
    path.write_bytes(contents)
    assert value(2.5) == 7.5
    assert len(compilations) == 2
    assert value(2.5) == 7.5
    assert len(compilations) == 2


def test_without_a_folder_the_library_is_made_each_time(place, compilations):
    place.write_text("a file where the folder should be")
    assert value(2.5) == value(2.5) == 7.5
    assert len(compilations) == 2


def test_a_folder_from_which_nothing_may_be_loaded_is_done_without(place, compilations, monkeypatch):
    load = library.ctypes.CDLL

    def refuse(path):
        if str(place) in path:
            raise OSError("failed to map segment from shared object")
        return load(path)

    monkeypatch.setattr(library.ctypes, "CDLL", refuse)
    assert value(2.5) == 7.5


def test_other_flags_compilers_and_processors_are_other_libraries(tmp_path, monkeypatch):
    one, two = tmp_path / "gcc", tmp_path / "cc"
    one.write_text("13")
    two.write_text("13")
    first = cache.key_of("text", ["gcc", "-O2"], one)
    others = [
        cache.key_of("texts", ["gcc", "-O2"], one),
        cache.key_of("text", ["gcc", "-O3"], one),
        cache.key_of("text", ["gcc", "-O2"], two),
    ]
    monkeypatch.setattr(cache, "_processor", lambda: "another")
    others.append(cache.key_of("text", ["gcc", "-O2"], one))
    monkeypatch.undo()
    time.sleep(0.01)
    one.write_text("14")
    others.append(cache.key_of("text", ["gcc", "-O2"], one))
    assert len({first, *others}) == 6


def _make(target):
    time.sleep(0.05)
    target.write_bytes(b"library" * 10_000)


def _ask(number, folder, results):
    temporary = folder.parent / f"temporary {number}"
    temporary.mkdir()
    found = cache.cached("key", _make, temporary).read_bytes()
    results.put(found == b"library" * 10_000)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_processes_may_ask_at_the_same_time(place):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_ask, args=(number, place, results)) for number in range(8)]
    for process in processes:
        process.start()
    assert all(results.get(timeout=30) for _ in processes)
    for process in processes:
        process.join(30)
    assert len(list(place.iterdir())) == 1


def test_what_was_not_used_for_longest_goes_first(place, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "KEPT", 3)
    for number in range(6):
        cache.cached(f"key{number}", lambda target: target.write_bytes(b"x"), tmp_path)
        time.sleep(0.01)
    assert sorted(path.name[:4] for path in place.iterdir()) == ["key3", "key4", "key5"]
    assert isinstance(cache.folder(), Path)
