"""Standard output and standard error of a command: text that they cannot spell, readers that have gone, disks that are full."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

BROKEN_PIPE = 141  # what a shell calls a program that died of SIGPIPE


OUTPUT, ERRORS = "standard output", "standard error"


class Stream(io.TextIOWrapper):
    """A standard stream: its errors say that it was this one, and what its encoding lacks is escaped (`\\xe9`), not raised."""

    said = ""
    failed: OSError | None = None  # argparse drops what a write raises: it is raised again when the command ends

    def write(self, text: str, /) -> int:
        with self._named():
            return super().write(text)

    def flush(self) -> None:
        with self._named():
            super().flush()
            if self.failed is not None:
                raise self.failed

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = self.said
            self.failed = error
            raise


def set_up() -> None:
    """Put such streams in the place of Python's own. Errors that the user chose (PYTHONIOENCODING=ascii:replace) stay."""
    for name, said in (("stdout", OUTPUT), ("stderr", ERRORS)):
        stream = getattr(sys, name)
        if type(stream) is not io.TextIOWrapper:
            continue
        kept = {
            "encoding": stream.encoding,
            "line_buffering": stream.line_buffering,
            "write_through": stream.write_through,
        }
        errors = "backslashreplace" if stream.errors in ("strict", "surrogateescape") else stream.errors
        mine = Stream(stream.detach(), errors=errors, **kept)
        mine.said = said
        setattr(sys, name, mine)
        setattr(sys, f"__{name}__", mine)


def tell(text: str) -> None:
    """Print a line, from where the work is worth more than its display: a broken standard output is given up, not raised."""
    try:
        print(text, flush=True)
    except OSError as error:
        give_up(error)


def give_up(error: OSError) -> None:
    """Say once on standard error that standard output is broken; from then on it goes nowhere."""
    warn(f"standard output cannot be written ({error.strerror or error}); the work goes on without it")
    discard(sys.stdout)


def warn(text: str) -> None:
    """Print a line on standard error, if anybody hears it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)


def discard(stream: Any) -> None:
    """Whatever a stream holds, and is yet to be given, goes nowhere: the interpreter would try it again at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        if isinstance(stream, Stream):
            stream.failed = None
        stream.flush()
