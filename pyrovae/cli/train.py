"""Train a VAE, a CVAE or an autoencoder by SVI, and write the run to runs/NAME.

pyrovae train
pyrovae train --data mnist --model CVAE --model.latent_dim 5
pyrovae train --optimizer RMSprop --optimizer.lr 1e-3 --objective.warmup 0.2
pyrovae train --model.encoder ConvEncoder --model.decoder ConvDecoder --name conv
pyrovae train --resume runs/conv
torchrun --nproc_per_node 2 -m pyrovae train
"""

from pyrovae.data import ImageSet, policy_of
from pyrovae.engine import LostProcessError
from pyrovae.program import command_line
from pyrovae.runs.shared import facts_of, open_shared, parse_shared
from pyrovae.runs.training import build_training, finish_run, load_training_data
from pyrovae.training import History, RunFolder, Trainer, joined
from pyrovae.training.checks import unused_greys
from pyrovae.training.processes import say


def main(description: str | None = None) -> None:
    """Parse, build, train, draw; by one process, or by all that torchrun has started."""
    with joined() as processes:
        with processes.together():
            arguments = parse_shared(processes, description)
        with processes.together(in_turn=True):
            data = load_training_data(arguments)
            print(data.source, flush=True)
        left_open = arguments.pixels == "auto"
        with processes.together():
            trainer, model = build_training(arguments, data)
            if left_open and data.scaling is None:  # values have no pixel policy
                print(f"pixels: {trainer.pixels}, chosen from the images (--pixels sets another policy)", flush=True)
                lost = unused_greys(model, policy_of(data, trainer.pixels))
                if lost:
                    print(f"note: {lost}", flush=True)
            processes.check_batch(trainer.batch_size)
            processes.device(trainer.device)
            processes.check_same(facts_of(arguments, data))
        with open_shared(processes, arguments, data) as (folder, resume):
            again = f"{command_line('train', '--resume', folder.path)}"
            try:
                history = trainer.fit(
                    model,
                    data,
                    folder,
                    resume=resume,
                    progress=arguments.progress,
                    tensorboard=arguments.tensorboard,
                    processes=processes,
                )
                if processes.is_first:
                    _finish(folder, trainer, data, history)
            except KeyboardInterrupt:
                say(processes, f"resume with: {again}")
                raise
            except LostProcessError as error:
                raise LostProcessError(f"{error}; what was saved goes on with: {again}") from error


def _finish(folder: RunFolder, trainer: Trainer, data: ImageSet, history: History) -> None:
    """Test the model, and draw the run's pictures."""
    model, tests = finish_run(folder, trainer, data)
    for test in tests:
        print(f"test: {test}", flush=True)
    from pyrovae.runs.figures import save_run_figures  # matplotlib takes a second that --help has no need of

    for path in save_run_figures(model, data, policy_of(data, trainer.pixels), history, folder.figures):
        print(path)
