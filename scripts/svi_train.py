"""Train a VAE, a CVAE or an autoencoder with Pyro's SVI, and keep the run in runs/NAME.

python scripts/svi_train.py
python scripts/svi_train.py --data mnist --model CVAE --model.latent_dim 5
python scripts/svi_train.py --optimizer RMSprop --optimizer.lr 1e-3 --objective.warmup 0.2
python scripts/svi_train.py --model.encoder ConvEncoder --model.decoder ConvDecoder --name conv
python scripts/svi_train.py --resume runs/conv
"""

from pyrovae import config
from pyrovae.figures import save_run_figures
from pyrovae.training import Interrupted


def main() -> None:
    """Parse, build, train, look."""
    arguments = config.parse_training(description=__doc__)
    data = config.load_training_data(arguments)
    print(data.source, flush=True)
    trainer, model = config.build_training(arguments, data)
    resume = arguments.resume is not None
    folder = config.continue_run(arguments) if resume else config.create_run(arguments, data)
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
    model, test = config.finish_run(folder, trainer, data)
    if test is not None:
        print(f"test: {test}")
    for path in save_run_figures(model, data, trainer.pixels, history, folder.figures):
        print(path)


if __name__ == "__main__":
    config.run_command(main)
