"""Write one HTML file in which a run's latent space is explored: it opens offline, without a server.

pyrovae explore runs/mnist-vae-2d
pyrovae explore runs/mnist-cvae-10d --images 3000 --out digits.html

Drag a point and see p(x | z), draw an image and see its q(z | x), and compare the guide with the true posterior. The
networks run inside of the page; it asks nobody for anything.
"""

from pathlib import Path
from typing import Annotated

from tqdm import tqdm

from pyrovae.checks import Count, Place, Within
from pyrovae.cli.options import add_shared, check_place, run_parser
from pyrovae.explorer import MOST_BYTES, page
from pyrovae.export.onnx_files import need_libraries
from pyrovae.files import replace_text
from pyrovae.runs.loading import open_run


def main(description: str | None = None) -> None:
    """Encode, export, compute true posteriors, write."""
    parser = run_parser(description)
    parser.add_option("--out", type=str | None, default=None, help="HTML file; by default RUN/explore.html.")
    parser.add_option(
        "--images",
        type=Count,
        default=1500,
        help="Number of images whose codes are shown, at most; fewer if the page would be too large.",
    )
    parser.add_option(
        "--posteriors",
        type=Place,
        default=6,
        help="Number of images whose true posterior is computed (2-D codes); 0 saves minutes.",
    )
    parser.add_option(
        "--most_mb",
        type=Annotated[int, Within(1, 500)],
        default=MOST_BYTES // 10**6,
        help="Largest size of the page, in MB.",
    )
    add_shared(parser, "split", "data_dir")
    options = parser.parse_args()
    need_libraries()
    path = Path(options.out or Path(options.run) / "explore.html")
    if path.suffix not in (".html", ".htm"):
        raise ValueError(f"--out must be a file that ends in .html, got {path}")
    run = open_run(options.run, options.data_dir, "cpu")
    check_place(path, "out")
    sizes = {"images": options.images, "posteriors": options.posteriors, "most": options.most_mb * 10**6}
    with tqdm(desc="true posteriors", unit="code", unit_scale=True, disable=None) as bar:
        text = page(run, options.split, **sizes, progress=bar.update)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, text)
    print(f"{path} ({len(text.encode()) / 1e6:.1f} MB)")
