"""Ctrl-C and SIGTERM: finish the step and save; a second Ctrl-C stops at once."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 75}  # 75 is EX_TEMPFAIL: schedulers start the command again


class Stop:
    """While active, remembers the first request to stop; `stop.requested` is then the exit code to end with, else None."""

    def __init__(self, on_request=lambda text: None):
        self.requested: int | None = None
        self._say = on_request
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in EXIT_CODES:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            os._exit(EXIT_CODES[signal.SIGINT])
        if self.requested is None:
            self.requested = EXIT_CODES[signal.Signals(number)]
            self._say("stopping: this step is finished and saved first (Ctrl-C again stops at once)")
