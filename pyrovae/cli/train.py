"""Train a VAE, a CVAE or an autoencoder by SVI, and write the run to runs/NAME.

pyrovae train
pyrovae train --data mnist --model CVAE --model.latent_dim 5
pyrovae train --optimizer RMSprop --optimizer.lr 1e-3 --objective.warmup 0.2
pyrovae train --model.encoder ConvEncoder --model.decoder ConvDecoder --name conv
pyrovae train --resume runs/conv
"""

from pyrovae.data import policy_of
from pyrovae.program import command_line
from pyrovae.runs.training import build_training, finish_run, load_training_data, open_training, parse_training


def main(description: str | None = None) -> None:
    """Parse, build, train, draw."""
    arguments = parse_training(description=description)
    data = load_training_data(arguments)
    print(data.source, flush=True)
    left_open = arguments.pixels == "auto"
    trainer, model = build_training(arguments, data)
    if left_open:
        print(f"pixels: {trainer.pixels}, chosen from the images (--pixels sets another policy)", flush=True)
    with open_training(arguments, data) as (folder, resume):
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
            model, tests = finish_run(folder, trainer, data)
            for test in tests:
                print(f"test: {test}", flush=True)
            from pyrovae.runs.figures import save_run_figures  # matplotlib takes a second that --help has no need of

            for path in save_run_figures(model, data, policy_of(data, trainer.pixels), history, folder.figures):
                print(path)
        except KeyboardInterrupt:
            print(f"resume with: {command_line('train', '--resume', folder.path)}", flush=True)
            raise
