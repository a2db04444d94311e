"""Draw the codes of several runs side by side, in the same square: an autoencoder, the KL term alone, and a VAE.

pyrovae side-by-side [runs/autoencoder,runs/kl-only,runs/mnist-vae-2d]
pyrovae side-by-side [runs/a,runs/b] --titles [small,large] --limit 5 --images 2000 --output two.pdf

A run of the KL term alone: pyrovae train --objective.reconstruction_weight 0 --name kl-only
"""

from pathlib import Path

from pyrovae.checks import Count, Place, Positive
from pyrovae.cli.options import add_figure, add_shared, figure_path, save_picture
from pyrovae.factory.parser import Parser
from pyrovae.latent import ellipse, encode, pair_plane
from pyrovae.latent.codes import prior_moments
from pyrovae.plots import new_figure, plot_panels
from pyrovae.runs.loading import open_runs
from pyrovae.training import RunFolder


def main(description: str | None = None) -> None:
    """Encode the same images with each run, draw."""
    parser = Parser(description=description)
    parser.add_option("runs", type=list[str], help="Run folders, in brackets: [runs/A,runs/B].")
    parser.add_option("--titles", type=list[str] | None, default=None, help="Titles; by default the folders' names.")
    parser.add_option(
        "--images", type=Count | None, default=None, help="Number of images; by default all of the split."
    )
    parser.add_option("--dims", type=tuple[Place, Place], default=(0, 1), help="The two dimensions to draw.")
    parser.add_option(
        "--limit", type=Positive | None, default=None, help="Half the square's side; by default all fits."
    )
    parser.add_option("--colours", type=list[str] | str | None, default=None, help="Colours, or a colour map's name.")
    add_shared(parser, "split", "data_dir")
    add_figure(parser, "Picture; by default in the last run's figures.")
    options = parser.parse_args()
    titles = options.titles or [Path(path).name for path in options.runs]
    if len(titles) != len(options.runs):
        raise ValueError(f"each run needs its own title, got {len(options.runs)} runs and {len(titles)} titles")

    panels = {}
    for title, run in zip(titles, open_runs(options.runs, options.data_dir), strict=True):
        plane = pair_plane(run.model.shapes.latent_dim, *options.dims)
        panels[title] = encode(run.model, run.split(options.split)).first(options.images).project(plane.axes)
    mean, covariance = prior_moments(run.model)
    prior = [ellipse(plane.axes @ mean, plane.axes @ covariance @ plane.axes.T, mass) for mass in (0.5, 0.95)]
    figure, panes = new_figure(4 * len(panels) + 0.8, 4.7, columns=len(panels))
    plot_panels(
        panels,
        run.data.class_names,
        panes,
        prior=prior,
        names=plane.names,
        limit=options.limit,
        colours=options.colours,
    )
    count = len(next(iter(panels.values())))
    figure.suptitle(
        f"a draw from the posterior of each of {count:,} {options.split} images; dashed: 50 and 95 % of the prior"
    )
    output = figure_path(options, "side_by_side", folder=RunFolder(options.runs[-1]).figures)
    save_picture(figure, output, options)
    print(output)
