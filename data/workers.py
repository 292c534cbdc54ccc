"""Loader workers: started where nothing can reach them, and ended with whoever started them."""

import multiprocessing
import multiprocessing.resource_tracker
import multiprocessing.util  # its exit handler waits for children: ours must come after it, so that they run before
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Reader:
    """A grain iterator that starts its workers at a time of our choosing, and is let go of as soon as it is closed.

    Grain starts workers when the first element is asked for, from threads of its own. So a thread asks for it, and
    `start` returns as soon as all workers run, long before they deliver. An iterator that is still there when the
    interpreter exits complains about it: `close` lets go of it.
    """

    def __init__(self, iterator: Iterator):
        self._iterator: Any = iterator  # a grain iterator, or None once it is closed
        self._asking: threading.Thread | None = None
        self._first: list[tuple[Any, BaseException | None]] = []

    def start(self, workers: int) -> None:
        """Start the workers; the first element is on its way when this returns."""

        def ask() -> None:
            try:
                self._first.append((next(self._iterator), None))
            except BaseException as error:
                self._first.append((None, error))

        before = len(multiprocessing.active_children())
        self._asking = threading.Thread(target=ask, daemon=True)
        with _workers_environment():
            self._asking.start()
            while self._asking.is_alive() and len(multiprocessing.active_children()) < before + workers:
                time.sleep(0.01)

    def next(self) -> Any:
        """The next element; StopIteration when there is none, or when this was closed."""
        if self._iterator is None:
            raise StopIteration
        if self._asking is None:
            return next(self._iterator)
        self._asking.join()
        self._asking = None
        element, error = self._first.pop()
        if error is not None:
            raise error
        return element

    def close(self) -> None:
        """End the workers, or the thread, and let go of the iterator; may be called again."""
        if self._asking is not None:
            self._asking.join(timeout=20)
        if self._iterator is not None:
            self._iterator.close()
        self._iterator, self._asking, self._first = None, None, []


class WorkerStart:
    """Runs first in a loader worker: leaves Ctrl-C and SIGTERM to the parent, and ends when it does, however it ended."""

    def __init__(self, parent: int):
        self.parent = parent

    def __call__(self, index: int, count: int) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):  # both reach the whole group, and the parent ends its workers
            signal.signal(number, signal.SIG_IGN)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while os.getppid() == self.parent:
            time.sleep(0.5)
        os._exit(0)


@contextmanager
def _workers_environment():
    """While workers are started: no accelerator for them, and no signal to stop before `WorkerStart` has run.

    Children inherit both from the moment they start, which is sooner than any code of ours runs in them. Signals are blocked
    in this thread and those that it starts, not ignored: one that comes meanwhile still reaches this process.
    """
    platforms = os.environ.get("JAX_PLATFORMS")
    _start_tracker()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        yield
    finally:
        if platforms is None:
            del os.environ["JAX_PLATFORMS"]
        else:
            os.environ["JAX_PLATFORMS"] = platforms
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _start_tracker() -> None:
    """Start Python's tracker of shared memory now: with the first worker it would unblock the signals again. Where this process
    ends all at once, it clears away what is left without a warning."""
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        multiprocessing.resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()
