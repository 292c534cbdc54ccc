"""Prepare the data of an experiment: python -m train.prepare --exp=NAME [--data.source SOURCE] [--data.field VALUE ...]

Tokenises the source once into the cache; training opens it from there. Small sources are prepared by training itself.
"""

import sys

from train import cli
from train.command import run_command
from train.options import Options


def main() -> int:
    """The command; returns its exit code."""
    request = cli.parse(sys.argv[1:], command="prepare", options=Options)
    from data.prepared import prepare

    prepared = prepare(request.experiment.data)
    facts = prepared.describe()
    for part in ("train", "valid"):
        sizes = facts[part]
        print(f"{part}: {sizes['documents']:,} documents, {sizes['tokens']:,} tokens, {sizes['bytes']:,} bytes of text")
    print(f"{request.experiment.data.source} is prepared in {prepared.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
