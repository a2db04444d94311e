"""Export a run's encoder and decoder as ONNX, checked against torch, with a JSON file that describes them.

pyrovae export runs/mnist-vae-2d
pyrovae export runs/mnist-cvae-2d --out digits-onnx

The encoder gives the mean and the variances (or the covariance) of q(z | x), the decoder the mean of p(x | z) and the
parameters of its family. The first axis of all is that of images. CVAEs take labels y, int64, too.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyrovae.checks import Count
from pyrovae.cli.options import add_shared, check_place, run_parser
from pyrovae.contracts import name_of
from pyrovae.export import TOLERANCE, Exported, export_networks
from pyrovae.export.onnx_files import need_libraries
from pyrovae.files import replace_stream, replace_text
from pyrovae.runs.loading import Run, open_run


def main(description: str | None = None) -> None:
    """Convert, check, write."""
    parser = run_parser(description)
    parser.add_option("--out", type=str | None, default=None, help="Folder of the files; by default RUN/onnx.")
    parser.add_option(
        "--images", type=Count, default=64, help="Number of images on which the files are compared with torch."
    )
    add_shared(parser, "split", "data_dir")
    options = parser.parse_args()
    need_libraries()
    folder = Path(options.out or Path(options.run) / "onnx")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out must be a folder, and {folder} is a file")
    run = open_run(options.run, options.data_dir, "cpu")
    check_place(folder / "model.json", "out")
    split = run.split(options.split)
    found = export_networks(run.model, split.take(range(min(options.images, len(split)))))
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in found.files.items():
        path = folder / f"{name}.onnx"
        replace_stream(path, lambda file, content=content: file.write(content))  # type: ignore[misc]
        facts = found.facts[name]
        print(f"{path}: at most {facts['difference']:.1g} from torch's numbers on {facts['checked_on']:,} images")
    for name, why in found.missing.items():
        (folder / f"{name}.onnx").unlink(missing_ok=True)  # of an earlier run of this command
        print(f"no {name}: {why}")
    path = folder / "model.json"
    replace_text(path, json.dumps(describe(run, found), indent=1) + "\n")
    print(path)


def describe(run: Run, found: Exported) -> dict[str, Any]:
    """What somebody needs who has the files alone."""
    shapes = run.model.shapes
    networks = {name: {"file": f"{name}.onnx", **facts} for name, facts in found.facts.items()}
    return {
        "format": 1,
        "pyrovae": version("pyrovae"),
        "run": run.path.resolve().name,
        "data": run.data.name,
        "pixels": run.pixels,
        "scaling": None if run.data.scaling is None else run.data.scaling.to_dict(),
        "image_shape": list(shapes.image_shape),
        "latent_dim": shapes.latent_dim,
        "classes": list(run.data.class_names),
        "conditional": shapes.num_classes > 0,
        "prior": name_of(run.model.prior),
        "posterior": name_of(run.model.posterior),
        "likelihood": name_of(run.model.likelihood),
        "tolerance": TOLERANCE,
        "networks": networks,
        "missing": found.missing,
    }
