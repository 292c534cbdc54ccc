"""How fast, compared with what: python -m experiments.bench NAME

    attention   attention forward and backward, by chunks and whole, against jax.nn.dot_product_attention
    bert_step   the training step of BERT-small against Hugging Face in torch, in turn, in one run
    gpt2_step   the training step of nanoGPT's CPU shape against Hugging Face in torch, in turn, in one run
    generate    text from GPT-2's 124M shape against Hugging Face's generate, at batch 1 and 8
    lora        the memory and the step of LoRA against those of full fine-tuning, at the shapes of SST-2 and MiniLM
    loop        the loop's own time beside the step of bert_tiny
    optimizers  the step of an experiment with each optimizer over AdamW's; their memory; what Muon exchanges between devices
    pipeline    tokens/s of the data pipeline against the step of bert_tiny
    patching    a grid of activation patches against a loop of single patched forwards
    revision    training steps and generation of this checkout against another one, named by --against
    start       seconds from the command to the first step of bert_small, cold and warm

`python -m experiments.bench_finetune` compares fine-tuning with Hugging Face's Trainer, in scores and in speed.

Prints what it measures and writes experiments/results/bench_NAME.json (`--out` elsewhere): the figures with versions,
processor, revision and command. Machines are noisy and shared: only ratios taken in one run mean anything.
"""

import argparse
import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
BENCHES = {  # name: (module, function); the function's keyword arguments are its options
    "attention": ("experiments.bench_attention", "bench_attention"),
    "bert_step": ("experiments.bench_bert_step", "bench_bert_step"),
    "gpt2_step": ("experiments.bench_gpt2_step", "bench_gpt2_step"),
    "generate": ("experiments.bench_generate", "bench_generate"),
    "lora": ("experiments.bench_lora", "bench_lora"),
    "loop": ("experiments.bench_loop", "bench_loop"),
    "optimizers": ("experiments.bench_optimizers", "bench_optimizers"),
    "pipeline": ("experiments.bench_loop", "bench_pipeline"),
    "patching": ("experiments.bench_patching", "bench_patching"),
    "revision": ("experiments.bench_revision", "bench_revision"),
    "start": ("experiments.bench_start", "bench_start"),
}


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=BENCHES)
    parser.add_argument("--out", type=Path, help="file of the result; default experiments/results/bench_NAME.json")
    parser.add_argument("--rounds", type=positive, help="turns of each contestant")
    parser.add_argument("--steps", type=positive, help="steps in a turn")
    parser.add_argument("--loop", choices=("scan", "unroll"), help="how our layers are run")
    parser.add_argument("--experiment", help="whose step; for optimizers, bert_small if left out")
    parser.add_argument("--against", help="folder of another checkout of this project; for revision")
    parser.add_argument("--peer-python", help="interpreter with torch and transformers; default this one")
    options = vars(parser.parse_args(words))
    name, out = options.pop("name"), options.pop("out")
    module, function = BENCHES[name]
    bench = getattr(importlib.import_module(module), function)
    given = {option: value for option, value in options.items() if value is not None}
    if strange := sorted(set(given) - set(inspect.signature(bench).parameters)):
        parser.error(f"--{strange[0].replace('_', '-')} does not apply to {name}")
    parameters = inspect.signature(bench).parameters.values()
    if missing := [p.name for p in parameters if p.default is p.empty and p.name not in given]:
        parser.error(f"{name} needs --{missing[0].replace('_', '-')}")
    try:
        found = bench(**given)
    except ValueError as error:
        parser.error(str(error))
    write(name, found, out or RESULTS / f"bench_{name}.json")
    return 0


def write(name: str, found: dict[str, Any], path: Path) -> None:
    """Print the figures, and write them beside what they were measured on."""
    from train.environment import describe_environment, for_others

    for key, value in found.items():
        print(f"{key:36} {value}")
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = for_others(describe_environment())
    path.write_text(json.dumps({"bench": name, **found, "environment": environment}, indent=2) + "\n")
    print(f"written to {path}")


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
