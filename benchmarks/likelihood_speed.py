"""Importance-weighted log p(x) against the decoder's matrix products alone, on this machine, as a ratio.

Both are timed on a few images, in turn, in processor time of one thread (on a GPU: wall time), the fastest of several
rounds; what 10,000 images with k = 5000 would take is that, scaled. The network is that of Burda et al. (2016),
784-200-200-50, or the default one with a code of two dimensions; weights do not matter to the time.

python benchmarks/likelihood_speed.py
python benchmarks/likelihood_speed.py --device cuda --images 1000
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import pyrovae
from pyrovae.data import Split
from pyrovae.files import replace_text
from pyrovae.inference.importance import importance_weighted
from pyrovae.networks import MLPDecoder, MLPEncoder

RESULTS = Path(__file__).parent / "results"
SAMPLES, ALL = 5000, 10_000 * 5000


def models() -> dict[str, pyrovae.VAE]:
    """The two networks."""
    burda = pyrovae.VAE(
        (1, 28, 28),
        50,
        encoder=lambda shapes: MLPEncoder(shapes, (200, 200), nn.Tanh),
        decoder=lambda shapes, channels: MLPDecoder(shapes, channels, (200, 200), nn.Tanh),
    )
    return {"784-200-200-50": burda, "784-256-2": pyrovae.VAE((1, 28, 28), 2)}


def products(model: pyrovae.VAE, codes: int, rows: int) -> Callable[[], None]:
    """The matrix products of the decoder for so many codes, `rows` at a time, and nothing else."""
    layers = [layer for layer in model.likelihood.modules() if isinstance(layer, nn.Linear)]
    device = layers[0].weight.device
    inputs = [torch.randn(rows, layer.in_features, device=device) for layer in layers]
    outputs = [torch.empty(rows, layer.out_features, device=device) for layer in layers]

    @torch.no_grad()
    def run() -> None:
        for _ in range(codes // rows):
            for layer, given, out in zip(layers, inputs, outputs, strict=True):
                torch.addmm(layer.bias, given, layer.weight.T, out=out)

    return run


def seconds(action: Callable[[], object], device: str) -> float:
    """Time of one call."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    began = clock()
    action()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - began


def main() -> None:
    """Time, print ratios, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40, help="images to time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--engines", default="compiled,graph")
    options = parser.parse_args()
    torch.set_num_threads(1)
    split = Split(
        torch.randint(0, 2, (options.images, 1, 28, 28), dtype=torch.uint8) * 255,
        torch.zeros(options.images, dtype=torch.int64),
    )
    codes, rows = options.images * SAMPLES, 2_000 if options.device == "cpu" else 50_000
    found = []
    for name, model in models().items():
        model = model.to(options.device)
        bare = products(model, codes, rows)
        for engine in options.engines.split(","):

            def estimate(k: int, model: pyrovae.VAE = model, engine: str = engine) -> object:
                return importance_weighted(model, split, k, sweep=(), engine=engine)

            estimate(200)  # compiles; the graph is made anew in each call, which is what two calls differ by
            times = [
                [seconds(action, options.device) for action in (bare, lambda: estimate(SAMPLES), lambda: estimate(200))]
                for _ in range(options.rounds)
            ]
            product, whole, start = (min(column) for column in zip(*times, strict=True))
            rate = (whole - start) / (codes * (1 - 200 / SAMPLES))
            ratio = rate * codes / product
            found.append(
                {
                    "network": name,
                    "engine": engine,
                    "device": options.device,
                    "ratio_to_matrix_products": round(ratio, 2),
                    "seconds_for_10000_images_k_5000_one_thread": round(rate * ALL, 1),
                    "matrix_products_alone": round(product / codes * ALL, 1),
                    "start_seconds": round(start, 2),
                    "images_timed": options.images,
                    "torch": torch.__version__,
                }
            )
            print(json.dumps(found[-1]), flush=True)
    replace_text(RESULTS / f"likelihood-speed-{options.device}.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
