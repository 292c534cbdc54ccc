"""Put a paper's claim to the test: python -m experiments.reproduce NAME | --list

Runs every variant with every seed (each an ordinary run folder under runs/reproduce/NAME, gone on with if it was stopped),
measures, compares with the criteria that stood before the run, and writes experiments/results/NAME.json and NAME.html: the
paper's figure drawn from our numbers. A claim that fails is recorded as failed.
"""

import argparse
import ast
import dataclasses
import importlib
import json
import time
from pathlib import Path
from typing import Any

from data.cache import user_path
from train.command import InputError, configure_jax, start
from train.suggest import nearest

PAPERS = Path(__file__).parent / "papers"
RESULTS = Path(__file__).parent / "results"


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code: 0 when it was measured, whether the claim holds or not."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", help="the claim; --list shows them all")
    parser.add_argument("--list", action="store_true", help="list the claims, and stop")
    parser.add_argument("--seeds", help="fewer seeds than declared, as 0,1; the verdict then says so")
    parser.add_argument("--variants", help="run these variants only, as a,b, without a verdict: to share out the work")
    parser.add_argument(
        "--init", help="for a claim that fine-tunes: the run or folder to begin with, in the place of its own"
    )
    parser.add_argument("--runs", type=user_path, default=Path("runs/reproduce"), help="where run folders go")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where NAME.json and NAME.html go")
    options = parser.parse_args(words)
    if options.list:
        print(listing())
        return 0
    known = [path.stem for path in claims()]
    if options.name not in known:
        close = nearest(str(options.name).replace("-", "_"), known)
        hint = f"did you mean {close}?" if options.name and close else f"there are {', '.join(known)}"
        raise InputError(
            f"which claim? {options.name!r} is not one; {hint}" if options.name else f"which claim? {hint}"
        )
    seeds = read_seeds(options.seeds)
    configure_jax()
    reproduction = importlib.import_module(f"experiments.papers.{options.name}").reproduction
    variants = options.variants.split(",") if options.variants else list(reproduction.variants)
    if unknown := sorted(set(variants) - set(reproduction.variants)):
        raise InputError(f"--variants {unknown[0]} is not one of {', '.join(reproduction.variants)}")
    if options.init is not None:
        reproduction = begun_with(reproduction, options.init)
    return reproduce(options.name, reproduction, seeds or reproduction.seeds, variants, options.runs, options.out)


def claims() -> list[Path]:
    """The files that each declare one claim."""
    return sorted(PAPERS.glob("[!_]*.py"))


def listing() -> str:
    """The claims with their first line, none of them imported."""
    lines = [
        (path.stem, (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]) for path in claims()
    ]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"  {name:{width}}  {text}" for name, text in lines)


def read_seeds(text: str | None) -> tuple[int, ...]:
    """`0,1,2` as numbers; empty for None.

    >>> read_seeds("3,5")
    (3, 5)
    """
    if text is None:
        return ()
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise InputError(f"--seeds {text} is not a list of whole numbers, such as 0,1,2")
    return tuple(int(part) for part in text.split(","))


def begun_with(reproduction: Any, init: str) -> Any:
    """The claim with another run or folder to begin with; InputError where nothing of it begins with one."""
    if not reproduction.starts:
        raise InputError(f"--init {init}: no variant of this claim begins with trained weights; leave it out")
    starts = {name: dataclasses.replace(start, init=lambda: init) for name, start in reproduction.starts.items()}
    return dataclasses.replace(reproduction, starts=starts)


def reproduce(name: str, reproduction: Any, seeds: tuple[int, ...], variants: list[str], runs: Path, out: Path) -> int:
    """Train what is missing, measure, judge and write; returns the exit code of a stop, or 0."""
    from experiments.reproduction import Finished, judge, run_folder, summarise

    root, begin = runs / name, time.perf_counter()
    reproduction.ready()
    starts = {variant: begins(reproduction.starts.get(variant)) for variant in variants}
    finished = []
    for seed in seeds:
        for variant in variants:
            folder = run_folder(root, variant, seed)
            if code := train_variant(name, variant, reproduction, seed, folder, starts[variant]):
                return code
            finished.append(Finished(folder, variant, seed))
    if set(variants) != set(reproduction.variants):
        print(f"{', '.join(variants)} of {name} are trained; without --variants the claim is judged")
        return 0
    figures = {(item.variant, item.seed): reproduction.measure(item) for item in finished}
    names = list(next(iter(figures.values())))
    values = {v: {n: [figures[v, seed][n] for seed in seeds] for n in names} for v in variants}
    criteria = judge(reproduction, values)
    held = all(item["holds"] for item in criteria)
    complete = set(seeds) >= set(reproduction.seeds)
    result = {
        "reproduction": name,
        "paper": reproduction.paper,
        "claim": reproduction.claim,
        "departs": reproduction.departs,
        "published": dict(reproduction.published),
        "verdict": ("reproduced" if held else "not reproduced")
        + ("" if complete else ", on fewer seeds than declared"),
        "criteria": criteria,
        "floor": reproduction.floor(),
        "control": reproduction.control,
        "seeds": list(seeds),
        "measured": {v: {n: summarise(values[v][n]) for n in names} for v in variants},
        "seconds": round(sum(seconds_in_steps(item) for item in finished)),
        "seconds_of_this_command": round(time.perf_counter() - begin),
    }
    write(result, reproduction.curves(finished), out)
    for item in criteria:
        print(f"{'holds' if item['holds'] else 'FAILS'}  {item['criterion']}")
    print(f"{name}: {result['verdict']}; written to {out / name}.json and .html")
    return 0


def begins(start: Any) -> dict[str, Any]:
    """The options of a run that begins with trained weights, or with their shape."""
    return {} if start is None else {"init": start.init(), "fresh": start.fresh}


def given(reproduction: Any, variant: str) -> frozenset[str]:
    """The fields that a variant says for itself, whatever it begins with."""
    start = reproduction.starts.get(variant)
    return frozenset({"seed"} if start is None else {"seed", *start.given})


def train_variant(
    name: str, variant: str, reproduction: Any, seed: int, folder: Any, start: dict[str, Any] | None = None
) -> int:
    """Train one run to its end, or go on with it; the exit code if it was stopped."""
    from train.cli import Request
    from train.options import FinetuneOptions
    from train.session import train_run

    experiment = dataclasses.replace(reproduction.variants[variant], seed=seed)
    options = FinetuneOptions(run_dir=str(folder.path), **reproduction.options, **(start or {}))
    label = f"{name}/{variant}, seed {seed}"
    request = Request(label, experiment, experiment, options, given(reproduction, variant))
    return train_run(request, time.perf_counter())


def seconds_in_steps(item: Any) -> float:
    """Seconds that the steps of a run took, over all its starts."""
    return sum(line["seconds"] for line in item.lines if "seconds" in line and "loss" in line)


def write(result: dict[str, Any], charts: list[Any], out: Path) -> None:
    """NAME.json and NAME.html, each at one stroke."""
    from experiments.reproduction_page import render
    from train.environment import describe_environment, for_others
    from train.lines import replace_text

    out.mkdir(parents=True, exist_ok=True)
    result = result | {"environment": for_others(describe_environment())}
    name = result["reproduction"]
    replace_text(out / f"{name}.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    replace_text(out / f"{name}.html", render(result, charts))


if __name__ == "__main__":
    start(main)
