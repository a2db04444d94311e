"""Pack images or values into a folder that is mapped into memory, so that a set of any size can be trained on.

python scripts/pack.py photos packed --image_size 64
python scripts/pack.py array:faces.npy faces-packed --labels labels.npy
python scripts/pack.py dataset:mymodule.Faces faces-packed
python scripts/svi_train.py --data pack:faces-packed --model.likelihood DiscretizedLogistic
python scripts/pack.py faces-packed --check true
"""

from pyrovae.cli import run_command
from pyrovae.cli.pack import main

if __name__ == "__main__":
    run_command(main, __doc__)
