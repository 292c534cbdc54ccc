"""What a command does when it is disturbed: python -m experiments.attack NAME

    fuzz        files of others, damaged at random: an answer or one line, in bounded time and memory
    signals     Ctrl-C and SIGTERM at many moments of every command's first seconds
    folders     run folders with one thing damaged: opened, scored, exported, gone on with
    kills       SIGKILL at random moments of a run that is repeated until it ends

Prints a table of what was tried and every fault. The exit code is 0 where there is none, 1 otherwise.
"""

import argparse
import importlib
import inspect
import sys

ATTACKS = {  # name: (module, function); its arguments are its options
    "folders": ("experiments.attack.folders", "attack"),
    "fuzz": ("experiments.attack.fuzz", "attack"),
    "kills": ("experiments.attack.kills", "attack"),
    "signals": ("experiments.attack.signals", "attack"),
}


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.attack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", required=True)
    functions = {name: getattr(importlib.import_module(module), of) for name, (module, of) in ATTACKS.items()}
    for name, function in functions.items():
        command = commands.add_parser(name, help=inspect.getdoc(function))
        for option in inspect.signature(function).parameters.values():
            command.add_argument(f"--{option.name}", type=type(option.default), default=option.default)
    options = vars(parser.parse_args(words))
    return functions[options.pop("name")](**options)


if __name__ == "__main__":
    sys.exit(main())
