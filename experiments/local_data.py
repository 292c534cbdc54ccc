"""Where the data sets lie that a claim is measured on and that no package ships.

They are looked for in the folder that LOUPE_DATA names, else in ../shared/data. Nothing is downloaded.
"""

import os
from pathlib import Path

from data.errors import DataError

DEFAULT = Path(__file__).parents[2] / "shared" / "data"
HOME = {"tinyshakespeare/input.txt": "https://github.com/karpathy/char-rnn (data/tinyshakespeare/input.txt)"}


def local(name: str) -> str:
    """The path of a data file, whether it is there or not: declaring an experiment does not need it."""
    return str(Path(os.environ.get("LOUPE_DATA") or DEFAULT) / name)


def need(name: str) -> str:
    """The path of a data file; DataError with where to get it if it is not there."""
    path = local(name)
    if not Path(path).is_file():
        raise DataError(f"there is no {path}; get it from {HOME[name]} and name the folder above it with LOUPE_DATA")
    return path
