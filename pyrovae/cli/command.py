"""Execution of a command: user errors end in one line and exit status 2."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyrovae.cli.interrupted import end_quietly, ignore_interrupts
from pyrovae.cli.surroundings import end_unread, flush, prepare_streams, working_folder
from pyrovae.engine import CompilerError
from pyrovae.memory import refused_bytes
from pyrovae.program import fail, in_words, same_again
from pyrovae.training import Interrupted


def run_command(command: Callable[..., None], *arguments: object) -> None:
    """Run a command. User errors and missing files end in one line and exit status 2."""
    # A script's own folder is on the path; the user's own parts are in the current one.
    sys.path.append(working_folder())
    prepare_streams()
    try:
        command(*arguments)
        flush()
    except Interrupted as stopped:
        ignore_interrupts()
        raise SystemExit(128 + stopped.args[0]) from None
    except KeyboardInterrupt:
        end_quietly()
    except BrokenPipeError:
        end_unread()
    except (ValueError, OSError, CompilerError) as error:
        fail(in_words(error))
    except (MemoryError, RuntimeError) as error:
        memory = refused_bytes(error)
        if memory is None:
            raise  # a fault of ours, which needs its traceback
        fail(f"{memory}: choose a smaller --batch_size, fewer --images or --device cpu")


@contextmanager
def repeatable(done: str = "trained") -> Iterator[None]:
    """Around a command of many trainings, or other long work: say how to go on when it is stopped."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"what was {done} is kept; go on with: {same_again()}", flush=True)
        raise
