"""Ctrl-C and SIGTERM, from a command's first moment to its last.

A handler that raises is not enough: what is raised inside a callback of the garbage collector is dropped, a library call of
minutes is not interrupted at all, and unwinding a compilation that is under way may end in a segmentation fault. So nothing is
raised. The C half of Python's handler writes the signal's number to a pipe, also while the main thread is in a library; a thread
reads it there. Either a `Stop` is active, because there is work to be saved, and it is told; or there is nothing to save, and the
process ends on the spot: what it started is released, one line is said, and `os._exit` leaves nothing that could still fail.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NoReturn, Self

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 75}  # 75 is EX_TEMPFAIL: schedulers start the command again
STOPPED = "stopped; repeat the command to go on"
BRIEFLY = 1.0  # seconds that a reader who has stalled, or a slow disk, may hold up the end

_changing = threading.RLock()  # held while a signal is told to whoever wants it, and while that changes
_leaving = threading.Lock()  # taken once, by whoever ends the process
_active: list["Stop"] = []
_releases: list[Callable[[], None]] = []
_listening = False


class Stop:
    """While active, remembers the first request to stop; `stop.requested` is then the exit code to end with, else None.

    A second Ctrl-C ends the process at once.
    """

    def __init__(self, on_request=lambda text: None):
        self.requested: int | None = None
        self._say = on_request
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        with _changing:
            _active.append(self)
        if not _listening and threading.current_thread() is threading.main_thread():
            for number in EXIT_CODES:
                self._before[number] = signal.signal(number, lambda number, frame: receive(number))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with _changing:
            _active.remove(self)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def request(self, number: int) -> None:
        """Take a signal."""
        if self.requested is not None and number == signal.SIGINT:
            end(number, "stopped at once; repeat the command to go on from what was saved")
        if self.requested is None:
            self.requested = EXIT_CODES[signal.Signals(number)]
            text = "stopping: this step is finished and saved first (Ctrl-C again stops at once)"
            if _listening:  # a terminal that has stalled must not keep the next signal waiting
                threading.Thread(target=self._say, args=(text,), daemon=True).start()
            else:
                self._say(text)


def receive(number: int) -> None:
    """Tell the innermost active `Stop` of a signal, or end the process where there is none."""
    with _changing:
        if _active:
            _active[-1].request(number)
        else:
            end(number)


def listen() -> None:
    """From now on a signal stops this process as described above; called once, by the main thread of a command."""
    global _listening
    _listening = True
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    threading.Thread(target=_watch, args=(reading,), name="signals", daemon=True).start()
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in EXIT_CODES:
        signal.signal(number, _noted)
    os.register_at_fork(after_in_child=_forget)


def _noted(number: int, frame: object) -> None:
    """The Python half of the handler has nothing to do: the number lies in the pipe."""


def _watch(reading: int) -> None:
    while True:
        for number in os.read(reading, 64):
            if number in EXIT_CODES:
                receive(number)


def _forget() -> None:
    """A forked child must not write into the pipe of its parent."""
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
        for number in EXIT_CODES:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def released(release: Callable[[], Any]) -> Iterator[None]:
    """`release` is called where a signal ends the process inside: for what would be left behind, a folder or a process."""
    _releases.append(release)
    try:
        yield
    finally:
        _releases.remove(release)


def end(number: int, said: str = STOPPED) -> NoReturn:
    """End the process because of a signal."""
    _leaving.acquire()
    for release in reversed(_releases):
        _briefly(release)
    _briefly(lambda: sys.stdout.flush())
    _briefly(lambda: os.write(2, f"{said}\n".encode()))
    _exit(EXIT_CODES[signal.Signals(number)])


def leave(code: int) -> NoReturn:
    """End the process of a command that has come to its end, without the interpreter's own end: there threads of libraries may
    still run into what has been taken apart, and a signal would be answered by a death of its own."""
    _leaving.acquire()
    for stream in (sys.stdout, sys.stderr):
        _briefly(stream.flush if stream is not None else int)
    if sys.gettrace() is not None or sys.getprofile() is not None:
        sys.exit(code)  # a profiler or a measure of coverage writes what it found at the end
    _exit(code)


def _exit(code: int) -> NoReturn:
    children = sys.modules.get("multiprocessing")
    if children is not None:
        with contextlib.suppress(Exception):
            for child in children.active_children():
                child.kill()
    os._exit(code)


def _briefly(action: Callable[[], Any]) -> None:
    """Do it, but neither fail nor wait for a reader that has stalled."""

    def attempt() -> None:
        with contextlib.suppress(Exception):
            action()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(BRIEFLY)
