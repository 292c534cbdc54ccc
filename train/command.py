"""What every command does around its work: errors as one line, exit codes, and JAX set up once."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from train.signals import EXIT_CODES

BAD_INPUT, FAILED = 2, 1
NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class InputError(ValueError):
    """A mistake on the command line; the message is one line with the remedy."""

    exit_code = BAD_INPUT


class Terminated(KeyboardInterrupt):
    """SIGTERM before there is anything to save: like Ctrl-C, with the other exit code."""


def run_command(main: Callable[[], int]) -> int:
    """Call `main` and turn what it raises into one line on stderr and an exit code.

    2: bad input, nothing was begun. 1: work was under way. 130 or 75: Ctrl-C or SIGTERM before there was anything to save.
    An error that nobody foresaw keeps its traceback: it is a defect of ours.
    """
    from data.errors import DataError

    try:
        with terminable():
            return main()
    except DataError as error:
        return say(error, BAD_INPUT)
    except KeyboardInterrupt as error:
        print("stopped before there was anything to save; repeat the command to go on", file=sys.stderr)
        return EXIT_CODES[signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT]
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        return say(f"cannot write{f' {error.filename}' if error.filename else ''}: {error.strerror}; "
                   "free some space or mend its permissions, then repeat the command", FAILED)  # fmt: skip
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        return say(error, code)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """While active, SIGTERM ends the command as Ctrl-C does, with everything closed on the way out."""

    def end(number, frame):
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(error: Exception | str, code: int) -> int:
    """Print an error as one line."""
    from data.foreign import one_line

    print("error: " + one_line(error), file=sys.stderr)
    return code


def configure_jax() -> None:
    """Keep compiled programs between runs, beside the prepared data."""
    import jax

    folder = Path(os.environ.get("LOUPE_CACHE", Path.home() / ".cache" / "loupe")) / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
