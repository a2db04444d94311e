"""Search for the options of a training with the best bound of the validation images, by Optuna, with many workers.

python scripts/search.py --data digits --space "model.latent_dim=int(2,50)" --space "optimizer.lr=log(1e-4,1e-2)"
python scripts/search.py --data mnist --epochs 20 --space "model.prior=choice(StandardNormal,VampPrior)" --trials 40
python scripts/search.py --space "model.latent_dim=int(2,50)" --runs_dir /shared/runs --cluster tcp://10.0.0.1:8786

A range is int(2,50), int(2,50,4) in steps of 4, logint(8,512), float(0,1), log(1e-4,1e-2) or choice(a,b,c).
All other options are those of scripts/svi_train.py and hold for every trial. The same command goes on with a search
that was stopped, and may run several times at once on machines that share the folder. No test image is looked at.
"""

from pyrovae.cli import run_command
from pyrovae.cli.search import main

if __name__ == "__main__":
    run_command(main, __doc__)
