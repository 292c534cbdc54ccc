"""Prepare the data of an experiment: python -m train.prepare --exp=NAME [--data.source SOURCE] [--data.field VALUE ...]

Tokenises the source once into the cache; training opens it from there. Small sources are prepared by training itself.
"""

import sys

from train import cli
from train.command import start
from train.options import Options


def main() -> int:
    """The command; returns its exit code."""
    request = cli.parse(sys.argv[1:], command="prepare", options=Options)
    from data.prepared import prepare

    if request.experiment.is_task:
        return prepare_task(request.experiment)
    prepared = prepare(request.experiment.data)
    facts = prepared.describe()
    for part in ("train", "valid"):
        sizes = facts[part]
        print(f"{part}: {sizes['documents']:,} documents, {sizes['tokens']:,} tokens, {sizes['bytes']:,} bytes of text")
    print(f"{request.experiment.data.source} is prepared in {prepared.folder}")
    return 0


def prepare_task(experiment) -> int:
    """Download what a task needs, and read it once: a mistake in it is told here, before a model is there."""
    from data.tasks.examples import examples_of
    from data.tasks.reading import read_source

    data = experiment.task_data
    for part, table in zip(("training", "held-out"), read_source(data.source, data.task, fetch=True), strict=True):
        if table is not None:
            print(f"{len(examples_of(data.task, table)):,} {part} examples of {data.source}")
    return 0


if __name__ == "__main__":
    start(main)
