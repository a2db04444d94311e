"""Train a VAE, a CVAE or an autoencoder by SVI, and write the run to runs/NAME."""

from pyrovae.runs.config_file import continue_run, create_run
from pyrovae.runs.training import build_training, finish_run, load_training_data, parse_training
from pyrovae.training import Interrupted


def main(description: str | None = None) -> None:
    """Parse, build, train, draw."""
    arguments = parse_training(description=description)
    data = load_training_data(arguments)
    print(data.source, flush=True)
    trainer, model = build_training(arguments, data)
    resume = arguments.resume is not None
    folder = continue_run(arguments) if resume else create_run(arguments, data)
    print(f"run: {folder.path}", flush=True)
    try:
        history = trainer.fit(
            model,
            data,
            folder,
            resume=resume,
            progress=arguments.progress,
            tensorboard=arguments.tensorboard,
        )
    except Interrupted:
        print(f"resume with: python scripts/svi_train.py --resume {folder.path}")
        raise
    model, test = finish_run(folder, trainer, data)
    if test is not None:
        print(f"test: {test}")
    from pyrovae.runs.figures import save_run_figures  # matplotlib takes a second that --help has no need of

    for path in save_run_figures(model, data, trainer.pixels, history, folder.figures):
        print(path)
