"""What every command does around its work: errors as one line, exit codes, and JAX set up once."""

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from data.cache import cache_folder, remove_under_way, user_path
from data.errors import DataError
from data.foreign import one_line
from train import signals, streams
from train.suggest import nearest

BAD_INPUT, FAILED = 2, 1
NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)
IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)  # of what is read as of what is written


class InputError(ValueError):
    """A mistake on the command line; the message is one line with the remedy."""

    exit_code = BAD_INPUT


def new_file(flag: str, path: str) -> Path:
    """Where a new file is to be written. InputError, before any work is done, where none can be."""
    place = user_path(path, f"name another with {flag}")
    if os.path.lexists(place):
        kind = ", and is a folder" if place.is_dir() else ""
        raise InputError(f"{flag} {place} is there already{kind}; name a new file")
    if not place.parent.is_dir():
        raise InputError(f"{flag} {place}: there is no folder {place.parent}; make it, or name another")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise InputError(f"{flag} {place}: {place.parent} may not be written; name another folder")
    return place


class Parser(argparse.ArgumentParser):
    """A command line of few words; a mistake in it is an InputError, with the nearest word that is known."""

    def __init__(self, **options: Any):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        # An option that is not there is told before one that is missing: it may be the same, misspelt.
        for word in sys.argv[1:] if args is None else args:
            name = word.partition("=")[0]
            if word == "--":
                break
            if name.startswith("--") and name not in self._option_string_actions:
                known = nearest(name, self._option_string_actions)
                hint = f"did you mean {known}?" if known else f"{self.prog} --help lists them"
                raise InputError(f"there is no option {name}; {hint}")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; {self.prog} --help says more")


def start(main: Callable[[], int]) -> NoReturn:
    """The whole life of a command's process: `if __name__ == "__main__": start(main)`.

    Signals and streams are set up before anything else, and the end is one that cannot fail: see train/signals.py.
    """
    signals.listen()
    streams.set_up()

    def whole() -> int:
        try:
            code = main()
        except SystemExit as ended:
            code = code_of(ended)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code

    try:
        with signals.released(remove_under_way):
            code = run_command(whole)
    except BaseException:
        traceback.print_exc()
        code = FAILED
    signals.leave(code)


def code_of(ended: SystemExit) -> int:
    """The exit code that a SystemExit stands for; a text is said, as Python does."""
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    streams.warn(str(ended.code))
    return FAILED


def run_command(main: Callable[[], int]) -> int:
    """Call `main` and turn what it raises into one line on stderr and an exit code.

    2: bad input, nothing was begun. 1: work was under way. 130: Ctrl-C in a program that handles it as Python does. 141:
    whoever read standard output has gone, which is no error. An error that nobody foresaw keeps its traceback: it is a defect
    of ours.
    """
    try:
        return main()
    except DataError as error:
        return say(error, BAD_INPUT)
    except KeyboardInterrupt:
        streams.warn(signals.STOPPED)
        return signals.EXIT_CODES[signal.SIGINT]
    except OSError as error:
        name = error.filename2 or error.filename  # of a copy the second is what is written
        if isinstance(error, BrokenPipeError) and name in (streams.OUTPUT, streams.ERRORS):
            streams.discard(sys.stdout)
            return streams.BROKEN_PIPE
        if error.errno in IN_THE_WAY:
            place = error.filename2 or error.filename or "a file"
            return say(
                f"cannot use {place}: {error.strerror}; name another, or move away what lies there, then repeat the command",
                FAILED,
            )
        if error.errno not in NOT_WRITABLE:
            raise
        if name == streams.OUTPUT:
            streams.discard(sys.stdout)
            return say(
                f"cannot write standard output: {error.strerror}; give it another place, then repeat the command",
                FAILED,
            )
        tried = "write"
        if name is not None and error.errno in (errno.EACCES, errno.EPERM):
            tried = "read" if os.path.exists(name) and not os.access(name, os.R_OK) else "write"
        return say(f"cannot {tried}{f' {name}' if name else ''}: {error.strerror}; "
                   "free some space or mend its permissions, then repeat the command", FAILED)  # fmt: skip
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        return say(error, code)


def say(error: Exception | str, code: int) -> int:
    """Print an error as one line."""
    streams.warn("error: " + one_line(error))
    return code


def configure_jax() -> None:
    """Keep compiled programs between runs, beside the prepared data, unless JAX's own variables say where and which."""
    import jax

    for name, value in (
        ("jax_compilation_cache_dir", str(cache_folder() / "compiled")),
        ("jax_persistent_cache_min_compile_time_secs", 0.5),
    ):
        if name.upper() not in os.environ:
            jax.config.update(name, value)
