"""Run Pyro's own tests of `pyro.infer.SVI` with the engine's `SVI` in its place, and count what passes.

Applicable is a test, counted by its id with parameters, that calls `step` or `evaluate_loss` of a `pyro.infer.SVI`
(itself, or through a class of `pyro.contrib` that trains by it), passes with Pyro, and takes no more than 10 s of
processor time there; of a function with more than 64 sets of parameters, 64 at equal distances count.
`--select` finds these, and keeps them in `pyro_tests_ids.txt`. Not applicable are tests that call an ELBO without
`SVI`, tests that only call `SVI.loss_and_grads` (Pyro's code, whatever the engine) or call the deprecated `SVI.run`
(another method here), MCMC, and `tests/test_examples.py` (processes of one step each, most of which download data).

`SVI` is swapped before a test module is imported, so its name is the engine's in `pyro.infer`, `pyro.infer.svi`,
`pyro.contrib` and the tests. Attributes that the engine's class lacks are read from a `pyro.infer.SVI` over the same
arguments. The check against Pyro is off, so that it hides nothing, and `auto` leaves Pyro after one step. Every test
starts from seed 0. Each file of tests runs in a process of its own; records are kept by test, and a run that was
interrupted goes on where it was, if the engine's code is the same.

Most tests take one step, which is Pyro's on every engine, and would say nothing about graphs. So where a test has
passed without a graph, its last step is repeated six times, if Pyro can do so, and each loss must be Pyro's
`evaluate_loss` for the same parameters and random numbers. These steps are not counted, and a failure is the test's.

Outcomes:
    passed: as with Pyro, with steps as graphs; "only repeated": in the repetitions; "without a graph": not even there
        (many of these expect an error of their program).
    refused: the engine raised an error of its own, even where the test expects some error and accepts this one.
    wrong: an assertion of the test fails (a missing error too).
    unclear: any other exception; also one of another text than that which the test expects.
    timeout: more than `--seconds` of processor time, or the process died.
"""

import argparse
import faulthandler
import importlib.util
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyro
import pyro.infer
import pytest
import torch
from surroundings import surroundings

HERE = Path(__file__).parent
IDS, RESULTS = HERE / "pyro_tests_ids.txt", HERE / "results" / "pyro_tests.json"
CANDIDATES = re.compile(r"SVI|\bsvi\b|CEVAE|Forecaster|MuE|ProfileHMM|vi_eig|posterior_eig")
FINISHED = 100  # added to pytest's exit status by a process that comes to its end
# Rewritten assertions hold a module whose state changes; in a model, the engine would watch it.
PYTEST = [
    "-q",
    "-p",
    "no:cacheprovider",
    "--no-header",
    "--tb=no",
    "--assert=plain",
    "-W",
    "ignore:`torch.jit:FutureWarning",
]
HELP = """Get the tests, at the version of the installed Pyro, with
  git clone https://github.com/pyro-ppl/pyro && git -C pyro checkout VERSION
where VERSION is `python -c "import pyro; print(pyro.__version__)"`, or the last commit before it if it has no tag."""
PyroSVI = pyro.infer.SVI
Records = dict[str, dict[str, Any]]


class OutOfTimeError(BaseException):
    """A test took too long; no `Exception`, so that nothing on the way takes it for a reason to go on."""


class Recorded:
    """Mixed into an `SVI`: keeps what happens to the instances that one test makes."""

    made: list["Recorded"] = []  # noqa: RUF012
    error: BaseException | None = None
    calls = 0
    last: tuple[tuple, dict] | None = None

    def step(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        self.last = args, kwargs
        return recorded(super().step, args, kwargs)  # type: ignore[misc]

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return recorded(super().evaluate_loss, args, kwargs)  # type: ignore[misc]

    def taken(self) -> dict[str, int]:
        """Steps by engine."""
        return dict(getattr(self, "steps_taken", {"pyro": self.calls}))

    def repeat(self) -> None:
        """Repeat the last step, and compare its loss with Pyro's."""
        args, kwargs = self.last or ((), {})
        before = pyro.util.get_rng_state()
        try:
            expected = self._as_pyro.evaluate_loss(*args, **kwargs)  # type: ignore[attr-defined]
        except Exception:  # Pyro does not go on here either
            return
        pyro.util.set_rng_state(before)
        loss = self.step(*args, **kwargs)
        equal = loss == pytest.approx(expected, rel=1e-6, abs=1e-8, nan_ok=True)
        assert equal, f"repeated, the loss is {loss}, and Pyro's is {expected}"


def recorded(method: Any, args: tuple, kwargs: dict) -> Any:
    """Call, and keep an exception."""
    try:
        return method(*args, **kwargs)
    except Exception as error:
        Recorded.error = error
        raise


class Baseline(Recorded, PyroSVI):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        Recorded.made.append(self)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("the engine's method of this name does something else")


def engine_svi(mode: str, extra: dict[str, Any]) -> type:
    """The engine's class with the signature of `pyro.infer.SVI`."""
    from pyrovae import engine

    accepted = inspect.signature(engine.SVI.__init__).parameters
    early = {"check_every": None, **({"tiers": {"graph": 1}} if mode == "auto" else {})}
    options = {"engine": mode, **{name: value for name, value in early.items() if name in accepted}, **extra}

    class Shim(Recorded, engine.SVI):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._as_pyro = PyroSVI(*args, **kwargs)
            given = inspect.signature(PyroSVI).bind(*args, **kwargs).arguments
            names = ("model", "guide", "optim", "loss", "loss_and_grads")
            Recorded.made.append(self)
            recorded(super().__init__, (), {n: given[n] for n in names if n in given and n in accepted} | options)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            return getattr(self._as_pyro, name)

    return Shim


class Plugin:
    """For pytest: swaps `SVI`, runs the wanted tests under a limit of time, and writes a line for each."""

    def __init__(self, options: Namespace) -> None:
        self.options = options
        self.steps: Counter[str] | None = None
        svi = Baseline if options.engine == "pyro-itself" else engine_svi(options.engine, options.arguments)
        for module in [m for name, m in sys.modules.items() if name.startswith("pyro.")]:
            if getattr(module, "SVI", None) is PyroSVI:
                module.SVI = svi  # type: ignore[attr-defined]
        signal.signal(signal.SIGPROF, self.out_of_time)

    def out_of_time(self, *_: Any) -> None:
        raise OutOfTimeError(f"more than {self.options.seconds} s")

    def write(self, **record: Any) -> None:
        with self.options.records.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        done, wanted = read_records(self.options.records), None if self.options.select else applicable(self.options)
        items[:] = [i for i in items if (wanted is None or i.nodeid in wanted) and i.nodeid not in done]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        torch.set_default_device(None)  # the CPU as well, but "cpu" in Pyro's conftest is a torch mode around all calls
        pyro.set_rng_seed(0)  # tests that want another seed set it later

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.write(id=item.nodeid, outcome="timeout", reason="the process died")  # the last line of an id counts
        Recorded.made.clear()
        Recorded.error = self.steps = None
        faulthandler.dump_traceback_later(10 * self.options.seconds, exit=True)  # for code that hears no signals
        signal.setitimer(signal.ITIMER_PROF, self.options.seconds)
        self.start = time.process_time()
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        yield
        self.steps = taken()
        for svi in list(Recorded.made) if Recorded.error is None and self.options.engine != "pyro-itself" else ():
            for _ in range(6 if svi.last and not as_graphs(svi.taken()) else 0):
                svi.repeat()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
        report: Any = yield
        if call.when == "call" or (call.when == "setup" and not report.passed):
            signal.setitimer(signal.ITIMER_PROF, 0)
            outcome, reason = self.outcome(report, call.excinfo)
            steps = taken() if self.steps is None else self.steps
            if outcome == "passed" and self.options.engine != "pyro-itself" and not as_graphs(steps):
                outcome = "passed, only repeated" if as_graphs(taken()) else "passed without a graph"
            said = "; ".join(dict.fromkeys(re.findall(r"pyrovae\.engine\S* \S+ (.*)", report.caplog)))[:300]
            used, seconds = any(svi.calls for svi in Recorded.made), round(time.process_time() - self.start, 2)
            record = {"id": item.nodeid, "outcome": outcome, "reason": reason, "said": said, "steps": steps}
            self.write(**record, used=used, seconds=seconds)
        return report

    def outcome(self, report: Any, info: pytest.ExceptionInfo | None) -> tuple[str, str]:
        """One of those of this file's docstring, and why."""
        error = info.value if info is not None else None
        if report.skipped or hasattr(report, "wasxfail"):
            return "skipped", ""
        if Recorded.error is not None and type(Recorded.error).__module__.startswith("pyrovae"):
            return "refused", ("the test expects an error; " if report.passed else "") + first_line(Recorded.error)
        if report.passed:
            return "passed", ""
        if isinstance(error, OutOfTimeError):
            return "timeout", first_line(error)
        if Recorded.error is None and isinstance(error, (AssertionError, pytest.fail.Exception)):
            return "wrong", first_line(error)
        return "unclear", first_line(Recorded.error or error)


def taken() -> Counter[str]:
    """Steps of the test by engine."""
    return sum((Counter(svi.taken()) for svi in Recorded.made), Counter())


def as_graphs(steps: Mapping[str, int]) -> bool:
    return bool(steps.get("graph") or steps.get("compiled"))


def first_line(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {[*str(error).strip().splitlines(), ''][0][:300]}"


def read_records(path: Path) -> Records:
    return {r["id"]: r for r in map(json.loads, path.read_text().splitlines() if path.exists() else [])}


def applicable(options: Namespace) -> list[str]:
    return [key for key in IDS.read_text().splitlines() if re.search(options.only, key)]


def worker(options: Namespace) -> int:
    """Run one file of tests in this process."""
    assert not Path(pyro.__file__).is_relative_to(options.pyro), "the installed Pyro is tested, not the checkout"
    torch.set_num_threads(1)
    plugin = Plugin(options)
    os.chdir(options.pyro)
    return FINISHED + int(pytest.main([options.worker, *PYTEST], [plugin]))


def run(files: list[str], options: Namespace) -> Records:
    """Run files of tests one after the other, each again if its process dies; the records of their tests."""
    package = Path(str(importlib.util.find_spec("pyrovae").origin)).parent  # type: ignore[union-attr]
    code = [] if options.engine == "pyro-itself" else sorted((package / "engine").rglob("*.py"))
    version = zlib.crc32(json.dumps(options.arguments).encode() + b"".join(path.read_bytes() for path in code))
    folder = options.records / f"{options.engine}-{version:08x}"
    folder.mkdir(parents=True, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k != "CI"} | {"OMP_NUM_THREADS": "1"}
    found: Records = {}
    for file in files:
        records, before = folder / f"{file.replace('/', '.')}.jsonl", -1
        if options.fresh:
            records.unlink(missing_ok=True)
        command = [sys.executable, *sys.argv, f"--worker={file}", f"--records={records}"]
        command += [f"--engine={options.engine}", f"--seconds={options.seconds}"]
        while len(read_records(records)) > before:  # a process that dies leaves one record more
            before = len(read_records(records))
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode in (FINISHED, FINISHED + 1, FINISHED + 5):
                break
        else:
            print(f"{file}: {done.stdout[-500:]} {done.stderr[-1500:]}", file=sys.stderr)
        found |= (new := read_records(records))
        print(f"{file}: {dict(Counter(record['outcome'] for record in new.values()))}", flush=True)
    return found


def select(options: Namespace) -> None:
    """Find the applicable tests, and keep their ids."""
    options.engine, options.seconds = "pyro-itself", 10
    tests = [f for f in (options.pyro / "tests").rglob("test_*.py") if f.name != "test_examples.py"]
    files = sorted(str(f.relative_to(options.pyro)) for f in tests if CANDIDATES.search(f.read_text()))
    records = run([f for f in files if re.search(options.only, f)], options)
    used = sorted(key for key, record in records.items() if record.get("used"))
    by_function: dict[str, list[str]] = {}
    for key in used:
        if records[key]["outcome"] == "passed":
            by_function.setdefault(key.split("[")[0], []).append(key)
        else:
            print(f"  left out: {key} {records[key]['reason']}")
    kept = [keys[i * len(keys) // n] for keys in by_function.values() for n in [min(64, len(keys))] for i in range(n)]
    print(f"{len(used)} tests use SVI, {sum(map(len, by_function.values()))} of them pass, {len(kept)} are kept")
    IDS.write_text("".join(f"{key}\n" for key in kept))


def measure(options: Namespace) -> None:
    """Run the applicable tests in one mode, and add the counts to the file of results."""
    wanted = applicable(options)
    records = run(sorted({key.split("::")[0] for key in wanted}), options)
    by_class: dict[str, Counter[str]] = {}
    steps: Counter[str] = Counter()
    others: dict[str, str] = {}
    for key in wanted:
        record: dict[str, Any] = {"outcome": "unclear", "reason": "not collected", "steps": {}} | records.get(key, {})
        outcome = record["outcome"]
        steps.update(record["steps"])
        if outcome != "passed":
            others[key] = f"{outcome}: {record['reason'] or record.get('said', '')}"
        by_class.setdefault(key.split("[")[0].rpartition("::")[0], Counter())[outcome] += 1
    seconds = sum(record.get("seconds", 0.0) for record in records.values())
    counts = {"total": dict(sum(by_class.values(), Counter())), "steps": dict(steps), "seconds": round(seconds)}
    print(f"{options.engine}: {counts}")
    if options.only:
        print("\n".join(f"  {key} {why}" for key, why in others.items() if not why.startswith("passed")))
        return
    head = subprocess.run(["git", "-C", options.pyro, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    tests = {"pyro": pyro.__version__, "tests_of": head.stdout.strip(), "arguments": options.arguments}
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[options.engine] = {**surroundings(), **tests, **counts, "by_class": by_class, "not_passed": others}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0], epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes, records = ("pyro-itself", "auto", "graph"), Path(tempfile.gettempdir()) / "pyro-tests"
    parser.add_argument("--pyro", type=lambda p: Path(p).resolve(), required=True, help="checkout of Pyro's repository")
    parser.add_argument("--engine", choices=modes, default="graph", help="whose SVI runs; auto goes to a graph early")
    parser.add_argument("--arguments", type=json.loads, default={}, help="more arguments of the engine's SVI, as JSON")
    parser.add_argument(
        "--only", default="", help="run the ids in which this expression is found, and write no results"
    )
    parser.add_argument("--seconds", type=int, default=120, help="limit for one test, of processor time")
    parser.add_argument("--select", action="store_true", help="find the applicable tests again")
    parser.add_argument("--fresh", action="store_true", help="forget the records of earlier runs")
    parser.add_argument(
        "--records", type=lambda p: Path(p).resolve(), default=records, help="where records are kept, test by test"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options)
    select(options) if options.select else measure(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
