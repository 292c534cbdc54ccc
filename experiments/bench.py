"""How fast, compared with what: python -m experiments.bench NAME

    bert_step   the training step of BERT-small against Hugging Face in torch, in turn, in one run
    loop        the loop's own time beside the step of bert_tiny
    pipeline    tokens/s of the data pipeline against the step of bert_tiny
    start       seconds from the command to the first step of bert_small, cold and warm

Prints what it measures and writes experiments/results/bench_NAME.json (`--out` elsewhere): the figures with versions,
processor, revision and command. Machines are noisy and shared: only ratios taken in one run mean anything.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
BENCHES = {  # name: (module, function); the function's keyword arguments are its options
    "bert_step": ("experiments.bench_bert_step", "bench_bert_step"),
    "loop": ("experiments.bench_loop", "bench_loop"),
    "pipeline": ("experiments.bench_loop", "bench_pipeline"),
    "start": ("experiments.bench_start", "bench_start"),
}


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=BENCHES)
    parser.add_argument("--out", type=Path, help="file of the result; default experiments/results/bench_NAME.json")
    steps = parser.add_argument_group("bert_step")
    steps.add_argument("--rounds", type=positive, default=8, help="turns of each contestant")
    steps.add_argument("--steps", type=positive, default=3, help="steps in a turn")
    steps.add_argument("--loop", choices=("scan", "unroll"), default="unroll", help="how our layers are run")
    steps.add_argument("--peer-python", default=sys.executable, help="interpreter with torch and transformers")
    options = vars(parser.parse_args(words))
    name, out = options.pop("name"), options.pop("out")
    module, function = BENCHES[name]
    found = getattr(importlib.import_module(module), function)(**(options if name == "bert_step" else {}))
    write(name, found, out or RESULTS / f"bench_{name}.json")
    return 0


def write(name: str, found: dict[str, Any], path: Path) -> None:
    """Print the figures, and write them beside what they were measured on."""
    from train.environment import describe_environment

    for key, value in found.items():
        print(f"{key:36} {value}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"bench": name, **found, "environment": describe_environment()}, indent=2) + "\n")
    print(f"written to {path}")


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
