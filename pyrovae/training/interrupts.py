"""Clean interruption of a run: Ctrl-C and SIGTERM wait for the current step."""

import signal
import threading
from types import FrameType, TracebackType


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user, after its checkpoint was written."""


class InterruptFlag:
    """Records Ctrl-C (SIGINT) and SIGTERM instead of ending within an update; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "InterruptFlag":
        # Python delivers signals to the main thread only; elsewhere they are somebody else's business.
        if threading.current_thread() is threading.main_thread():
            self._handlers = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
