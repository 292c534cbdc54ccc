"""What holds when things go wrong: python -m experiments.attack NAME

    fuzz        files of others, damaged at random, handed to what reads them: one line or a result, in bounded time and memory

Prints counts; the exit code is 0 where all held, and 1 otherwise, each failure on a line of its own that says how to repeat it.
"""

import argparse
import importlib
import inspect
import sys
from collections.abc import Callable

ATTACKS = {  # name: (module, function); the function's keyword arguments are its options, and it returns what failed
    "fuzz": ("experiments.attack_fuzz", "fuzz"),
}


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.attack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=ATTACKS)
    parser.add_argument("--files", type=positive, help="how many damaged files; 1000 where nothing is said")
    parser.add_argument("--seed", type=int, help="of the damages; 0 where nothing is said")
    parser.add_argument("--only", help="kinds of files, separated by commas")
    options = vars(parser.parse_args(words))
    module, function = ATTACKS[options.pop("name")]
    attack: Callable[..., list[str]] = getattr(importlib.import_module(module), function)
    given = {option: value for option, value in options.items() if value is not None}
    if strange := sorted(set(given) - set(inspect.signature(attack).parameters)):
        parser.error(f"--{strange[0]} does not apply")
    try:
        failed = attack(**given, say=print)
    except ValueError as error:
        parser.error(str(error))
    for line in failed:
        print(line)
    return int(bool(failed))


def positive(word: str) -> int:
    """A count."""
    if int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} must be at least 1")
    return int(word)


if __name__ == "__main__":
    sys.exit(main())
