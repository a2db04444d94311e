"""Train the same model with several weights of the KL term in parallel, and draw rate against distortion.

python scripts/beta_sweep.py --data digits --name sweep
python scripts/beta_sweep.py --low 0.01 --high 100 --points 9 --data mnist --model.latent_dim 10 --epochs 10 --name ten
python scripts/beta_sweep.py --betas [0,0.5,1,4] --config my.yaml --workers 2
python scripts/beta_sweep.py --data mnist --runs_dir /shared/runs --cluster tcp://10.0.0.1:8786
python scripts/beta_sweep.py --data digits --together true --name one-program

All other options are those of scripts/svi_train.py. Finished runs are not trained again, and interrupted ones continue.
"""

from pyrovae.cli import run_command
from pyrovae.cli.beta_sweep import main

if __name__ == "__main__":
    run_command(main, __doc__)
