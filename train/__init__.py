"""Training: one loop, its commands, and the run folder."""

import signal as _signal
import sys as _sys
from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path

if _sys.argv[:1] == ["-m"]:
    # A command is being looked up: until it handles signals (train/signals.py), Ctrl-C is a death without a traceback.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _check_neighbours() -> None:
    """ImportError where a file of somebody else would be imported in the place of one of our packages, and run.

    Python looks first into the folder in which a command is given, so that a `data.py` there hides our `data`. A command
    ends with one line and code 2.
    """
    home = _Path(__file__).resolve().parents[1]
    if str(home) not in _sys.path:
        # Of an editable install, whose packages are found after those on the path: there even a folder `data` without any code
        # would hide ours. Last, so that nothing else is hidden by it; processes that this one starts have the same path.
        _sys.path.append(str(home))
    for name in ("data", "experiments", "kernels", "model"):
        spec = _find_spec(name)
        places = (
            [] if spec is None else [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else ())]
        )
        if places and home not in _Path(places[-1]).resolve().parents:
            message = f"{places[-1]} takes the place of Loupe's own package {name}; rename it, or start Python with -P"
            if _sys.argv[:1] == ["-m"]:  # what Python has there while it looks for the module of a command
                print(f"error: {message}", file=_sys.stderr)
                raise SystemExit(2)
            raise ImportError(message)


_check_neighbours()
