"""Train on 200,000 colour images of 64 x 64, 2.4 GB, that stay on the disk: memory, speed, and a killed run.

    python benchmarks/larger_than_memory.py /tmp/larger --engine compiled

The folder takes 5 GB and is removed at the end. Memory is anonymous memory (RssAnon), read every 10 ms from a thread,
above what the process has after its imports. Speed is that of the same set in memory, rounds of steps of both in turn
in one process. The killed run is killed by SIGKILL in the middle of an epoch, resumed, and its weights compared.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from surroundings import surroundings

import pyrovae
from pyrovae.data import ImageSet
from pyrovae.digests import digest
from pyrovae.engine import compilation  # noqa: F401 - what a training imports is no memory of the training
from pyrovae.likelihoods import Normal
from pyrovae.networks import MLPDecoder, MLPEncoder
from pyrovae.training.batches import Batches
from pyrovae.training.learner import Learner
from pyrovae.training.weights import load_weights

COUNT, SHAPE = 200_000, (3, 64, 64)
RESULTS = Path(__file__).parent / "results" / "larger_than_memory.json"


def anonymous() -> float:
    """Anonymous memory of this process, MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("this system does not tell anonymous memory")


def make(folder: Path, count: int) -> None:
    """Write blurred colour noise, a few thousand images at a time, and pack it."""
    rng = np.random.default_rng(0)
    source = folder / "images.npy"
    images = np.lib.format.open_memmap(source, "w+", np.uint8, (count, *SHAPE))
    for first in range(0, count, 4000):
        few = len(images[first : first + 4000])
        coarse = rng.integers(0, 256, (few, 3, 8, 8), dtype=np.uint8).repeat(8, 2).repeat(8, 3)
        images[first : first + few] = coarse // 2 + rng.integers(0, 128, (few, 1, 64, 64), dtype=np.uint8)
    del images
    began = time.perf_counter()
    pyrovae.pack(source, folder / "packed")
    print(f"packed in {time.perf_counter() - began:.0f} s", flush=True)


def model() -> pyrovae.VAE:
    """A network small enough for reading to matter: 12288-64-2."""
    torch.manual_seed(0)
    encoder, decoder = partial(MLPEncoder, hidden=[64]), partial(MLPDecoder, hidden=[64])
    return pyrovae.VAE(SHAPE, 2, encoder, decoder, likelihood=Normal)


def train(folder: Path, run: Path, engine: str, resume: bool) -> dict[str, float]:
    """One epoch, with the peak of anonymous memory."""
    bare = anonymous()
    peak, done = [bare], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], anonymous())

    threading.Thread(target=watch, daemon=True).start()
    began = time.perf_counter()
    data = pyrovae.load_images(f"pack:{folder / 'packed'}")
    opened = time.perf_counter() - began
    trainer = pyrovae.Trainer(epochs=1, engine=engine, device="cpu", checkpoint_every=5.0)
    trainer.fit(model(), data, run, resume=resume, progress=False)
    done.set()
    return {"bare_imports_mb": bare, "peak_above_mb": peak[0] - bare, "opening_s": opened}


def speed(folder: Path, engine: str, rounds: int, steps: int) -> dict[str, object]:
    """Images per second of both sets, rounds in turn."""
    packed = pyrovae.load_images(f"pack:{folder / 'packed'}")
    splits = {name: index.clone() for name, index in packed.splits.items()}
    whole = ImageSet("whole", packed.images.clone(), packed.labels.clone(), packed.class_names, splits)
    learners = {}
    for name, data in (("in memory", whole), ("packed", packed)):
        batches = Batches(data, "none", 128, 0, torch.device("cpu"))
        objective = pyrovae.TraceELBO()
        settings = {"engine": engine, "precision": "float32", "total_steps": 10**6}
        learners[name] = batches, Learner(model(), batches, objective, torch.optim.Adam, None, **settings)
    found: dict[str, list[float]] = {name: [] for name in learners}
    for turn in range(rounds + 1):
        for name, (batches, learner) in learners.items():
            step, began = turn * steps, time.perf_counter()
            while step < (turn + 1) * steps:
                chunk = batches.of_epoch(step // batches.per_epoch, step % batches.per_epoch, (turn + 1) * steps - step)
                learner.update(chunk, step)
                step += len(chunk)
            if turn:  # the first makes the graphs
                found[name].append(128 * steps / (time.perf_counter() - began))
    ratios = [a / b for a, b in zip(found["packed"], found["in memory"], strict=True)]
    medians = {name: statistics.median(values) for name, values in found.items()}
    spread = {"ratio_median": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios)}
    return {"images_per_second": medians, "rounds": rounds, "steps_a_round": steps, **spread}


def child(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__, *map(str, words)], stdout=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> dict[str, object]:
    text, _ = process.communicate()
    assert process.returncode == 0, text
    return json.loads(text.splitlines()[-1])


def killed(folder: Path, engine: str) -> dict[str, object]:
    """Kill a training after its first checkpoint in the middle of the epoch, resume it, compare the weights."""
    run = folder / "killed"
    process = child(folder, "--engine", engine, "--train", run)
    while not any(run.glob("checkpoint*")) and process.poll() is None:
        time.sleep(0.2)
    time.sleep(8)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = outcome(child(folder, "--engine", engine, "--train", run, "--resume"))
    weights = {}
    for name in ("whole", "killed"):
        weights[name] = model()
        load_weights(pyrovae.RunFolder(folder / name).last_weights, weights[name])
    same = digest(weights["whole"].state_dict()) == digest(weights["killed"].state_dict())
    return {
        "killed_by": "SIGKILL",
        "was_running": process.returncode == -signal.SIGKILL,
        "same_weights": same,
        **resumed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engine", default="compiled")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--speed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder, engine = options.folder, options.engine
    if options.train:
        print(json.dumps(train(folder, options.train, engine, options.resume)))
    elif options.speed:
        print(json.dumps(speed(folder, engine, options.rounds, options.steps)))
    else:
        folder.mkdir(parents=True)
        try:
            make(folder, options.count)
            found = {"images": options.count, "shape": SHAPE, "network": "12288-64-2", "engine": engine}
            found["memory"] = outcome(child(folder, "--engine", engine, "--train", folder / "whole"))
            print(found, flush=True)
            words = ("--engine", engine, "--speed", "--rounds", options.rounds, "--steps", options.steps)
            found["speed"] = outcome(child(folder, *words))
            print(found["speed"], flush=True)
            found["resumed"] = killed(folder, engine)
            found |= surroundings() | {"cores": os.cpu_count()}
            RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(json.dumps(found, indent=1))
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
