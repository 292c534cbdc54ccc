"""Standard output and standard error of a command: text that they cannot spell or that would steer a terminal, readers that
have gone, disks that are full."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

BROKEN_PIPE = 141  # what a shell calls a program that died of SIGPIPE


OUTPUT, ERRORS = "standard output", "standard error"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Stream(io.TextIOWrapper):
    """A standard stream: its errors say that it was this one, and what its encoding lacks is escaped (`\\xe9`), not raised.

    On a terminal, so is whatever would steer it: labels, texts and answers come from files of others.
    """

    said = ""
    failed: OSError | None = None  # argparse drops what a write raises: it is raised again when the command ends

    def write(self, text: str, /) -> int:
        return self.draw(harmless(text) if self.isatty() else text)

    def draw(self, text: str) -> int:
        """Write the text as it is, with what moves the cursor and colours."""
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


class Drawing:
    """A stream, for a library that draws on it."""

    def __init__(self, stream: Stream):
        self._stream = stream
        self.write = stream.draw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def to_draw_on(stream: Any) -> Any:
    """What a display may steer: a stream of ours lets nothing through that does, any other is given as it is."""
    return Drawing(stream) if isinstance(stream, Stream) else stream


def harmless(text: str) -> str:
    r"""Text of a file without what moves the cursor of a terminal, colours it or turns its direction; lines and tabs stay.

    >>> harmless("a\x1b[2Jb\tc")
    'a\\x1b[2Jb\tc'
    """
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


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
