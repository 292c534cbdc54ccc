"""Training: one loop, its commands, and the run folder."""

import signal as _signal
import sys as _sys

if _sys.argv[:1] == ["-m"]:
    # A command is being looked up: until it handles signals (train/signals.py), Ctrl-C is a death without a traceback.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
