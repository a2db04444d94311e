"""The commands of `pyrovae`, by their names: what each does, in a line, and where it is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        summary: What it does.
        module: The module in `pyrovae.cli` whose `main` it is.
        quick: Whether it needs neither torch nor Pyro.
    """

    summary: str
    module: str
    quick: bool = False


GROUPS: dict[str, dict[str, Command]] = {
    "train": {
        "train": Command("train a VAE, a CVAE or an autoencoder, or go on with one", "train"),
        "sweep": Command("train with several weights of the KL term; rate against distortion", "beta_sweep"),
        "search": Command("search among options for the best validation bound, by many workers", "search"),
        "study": Command("train and measure the founding study, and decide its claims", "study"),
    },
    "runs": {
        "list": Command("the runs of a folder: parts, bounds, whether they run", "list_runs", quick=True),
        "compare": Command("rank runs by the bound of the same images", "compare"),
    },
    "latent space": {
        "latent-space": Command("a Gaussian and ellipses of equal probability for each class", "latent_space"),
        "traverse": Command("decoded codes around a point, along dimensions or over classes", "traverse"),
        "interpolate": Command("decoded codes between images or classes", "interpolate"),
        "arithmetic": Command("add an attribute's vector to codes, and measure its effect", "arithmetic"),
        "marginals": Command("the posterior of each latent dimension beside the prior", "marginals"),
        "side-by-side": Command("the codes of several runs in the same square", "side_by_side"),
        "explore": Command("one HTML file to explore a latent space in a browser, offline", "explore"),
    },
    "data": {
        "pack": Command("a set of any size into a folder that is mapped into memory", "pack"),
    },
    "images": {
        "generate": Command("samples from the prior", "generate"),
        "reconstruct": Command("images and their reconstructions", "reconstruct"),
        "inpaint": Command("complete images of which half is seen", "inpaint"),
        "impute": Command("fill in the values that are missing in the data", "impute"),
        "classify": Command("classify by Bayes' rule with a CVAE", "classify"),
    },
    "measure": {
        "evaluate": Command("the bound, log p(x), samples, codes, with their errors", "evaluate"),
        "inspect": Command("the guide against the true posterior of chosen images", "inspect_posterior"),
        "calibrate": Command("test by simulation whether the guide is calibrated", "calibrate"),
    },
    "take away": {
        "export": Command("encoder and decoder as ONNX files", "export"),
    },
    "shell": {
        "completion": Command("print the completion of a shell: bash, zsh or tcsh", "completion"),
    },
}
"""The commands, as they are listed."""
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
EXAMPLES = """\
examples:
  pyrovae train --data mnist --model CVAE --model.latent_dim 5
  pyrovae list
  pyrovae latent-space runs/mnist-vae-2d
  pyrovae explore runs/mnist-vae-2d

pyrovae COMMAND --help has the options of a command and more examples."""
