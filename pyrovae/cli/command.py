"""How a command is run: what the user got wrong ends in one line and exit status 2."""

import sys
from collections.abc import Callable
from pathlib import Path

from pyrovae.engine import CompilerError
from pyrovae.factory.mistakes import fail
from pyrovae.memory import refused_bytes
from pyrovae.training import Interrupted


def run_command(command: Callable[..., None], *arguments: object) -> None:
    """Run a command; what the user got wrong or lacks ends in one line and exit status 2."""
    # A script's own folder is on the path; the user's own parts are in the current one.
    sys.path.append(str(Path.cwd()))
    try:
        command(*arguments)
    except Interrupted as stopped:
        raise SystemExit(128 + stopped.args[0]) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ValueError, OSError, CompilerError) as error:
        fail(str(error))
    except (MemoryError, RuntimeError) as error:
        memory = refused_bytes(error)
        if memory is None:
            raise  # a fault of ours, which needs its traceback
        fail(f"{memory}: choose a smaller --batch_size, fewer --images or --device cpu")
