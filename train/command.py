"""What every command does around its work: errors as one line, exit codes, and JAX set up once."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def run_command(main: Callable[[], int]) -> int:
    """Call `main` and turn what it raises into one line on stderr and an exit code.

    2: bad input, nothing was begun. 1: work was under way. 130: Ctrl-C before there was anything to save. An error that nobody
    foresaw keeps its traceback: it is a defect of ours.
    """
    from data.errors import DataError

    try:
        return main()
    except DataError as error:
        return say(error, BAD_INPUT)
    except KeyboardInterrupt:
        print("stopped before the first step; nothing was there to be saved", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        return say(error, code)


def say(error: Exception, code: int) -> int:
    """Print an error as one line."""
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    return code


def configure_jax() -> None:
    """Keep compiled programs between runs, beside the prepared data."""
    import jax

    folder = Path(os.environ.get("LOUPE_CACHE", Path.home() / ".cache" / "loupe")) / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
