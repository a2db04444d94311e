"""Train a VAE, a CVAE or an autoencoder with Pyro's SVI, and keep the run in runs/NAME.

python scripts/svi_train.py
python scripts/svi_train.py --data mnist --model CVAE --model.latent_dim 5
python scripts/svi_train.py --optimizer RMSprop --optimizer.lr 1e-3 --objective.warmup 0.2
python scripts/svi_train.py --model.encoder ConvEncoder --model.decoder ConvDecoder --name conv
python scripts/svi_train.py --resume runs/conv
"""

import json
from pathlib import Path

import pyrovae
from pyrovae import config
from pyrovae.data import load_images
from pyrovae.data.fixed import fixed_split
from pyrovae.evaluation import estimate_elbo
from pyrovae.figures import save_run_figures
from pyrovae.training import Interrupted, RunFolder
from pyrovae.training.files import replace_text


def main() -> None:
    """Parse, build, train, look."""
    arguments = config.parse_training(description=__doc__)
    data = load_images(
        arguments.data, arguments.data_dir, validation=arguments.validation, image_size=arguments.image_size
    )
    print(data.source, flush=True)
    settings = config.instantiate(arguments)
    trainer = config.build_trainer(settings)
    model = config.build_model(settings.model, data.image_shape, data.num_classes, trainer.seed)
    trainer.check(model, data)
    resume = arguments.resume is not None
    folder = RunFolder(Path(arguments.resume)) if resume else config.create_run(arguments, data)
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
    model = pyrovae.load(folder.path, device=trainer.device, allow_code=True)
    if len(data.splits["test"]):
        test = estimate_elbo(model, fixed_split(data.split("test"), trainer.pixels), seed=trainer.seed)
        print(f"test: {test}")
        replace_text(folder.test, json.dumps(test.to_dict(), indent=2) + "\n")
    for path in save_run_figures(model, data, trainer.pixels, history, folder.figures):
        print(path)


if __name__ == "__main__":
    config.run_command(main)
