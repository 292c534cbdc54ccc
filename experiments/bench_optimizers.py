"""What each optimizer costs, for bert_small or another experiment: the step, the memory of its state, what Muon sends under FSDP.

All take the same step on a batch of the real data, in one process and in turn; medians are compared with AdamW's.
Memory is what is kept beside the parameters, the optimizer's state and the average that it is scored at, over the bytes of the
parameters. Exchanges are read from the steps of AdamW and Muon compiled for eight devices with --mesh fsdp=8: the bytes that the
collectives of a program give out on one device.
"""

import dataclasses
import json
import math
import os
import re
import statistics
import subprocess
import sys
from typing import Any

DEVICES = 8
EXCHANGE = re.compile(r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")
ARRAY = re.compile(r"(f|bf|s|u)(\d+)\[([\d,]*)\]")


def bench_optimizers(rounds: int = 6, steps: int = 2, experiment: str = "bert_small") -> dict[str, Any]:
    """Seconds a step over AdamW's, sizes of their states, and exchanges of AdamW's and Muon's step on a mesh."""
    import jax

    from experiments.bench_step import prepare, steps_of
    from experiments.contest import seconds_of
    from train.memory import keep_freed_memory
    from train.state import parameter_count

    keep_freed_memory()
    takers, states = {}, {}
    batch = real_batch(experiment)
    for name, contestant in contestants(experiment).items():
        prepared = prepare(contestant, batch)
        takers[name] = steps_of(prepared)
        target = prepared.built.target
        held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((target.optimizer, target.mean)))
        states[name] = held / (4 * parameter_count(target.params))
        takers[name]()  # warm
        print(f"{name} is compiled", flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in takers}
    for number in range(rounds):
        for name, take in takers.items():
            seconds[name] += [seconds_of(take) for _ in range(steps)]
        shown = "  ".join(f"{name} {statistics.median(taken):.2f}" for name, taken in seconds.items())
        print(f"turn {number + 1} of {rounds}, seconds a step: {shown}", flush=True)
    found = summary(seconds, states, on_mesh(experiment))
    return found | {"experiment": experiment, "rounds": rounds, "steps_a_turn": steps}


def summary(
    seconds: dict[str, list[float]], states: dict[str, float], sent: dict[str, dict[str, int]]
) -> dict[str, Any]:
    """Ratios, sizes and exchanges as flat figures.

    >>> found = summary({"adam_w": [1.0, 3.0], "muon": [3.0]}, {"adam_w": 2.0, "muon": 1.5}, {"adam_w": {"all-gather": 4},
    ...                 "muon": {"all-gather": 4, "all-to-all": 2}})
    >>> found["muon_over_adam_w"], found["muon_state_over_parameters"], found["muon_collective_bytes_over_adam_w"]
    (1.5, 1.5, 1.5)
    """
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    found: dict[str, Any] = {
        f"{name}_over_adam_w": round(taken / medians["adam_w"], 3)
        for name, taken in medians.items()
        if name != "adam_w"
    }
    found |= {f"{name}_state_over_parameters": round(share, 3) for name, share in states.items()}
    total = {name: sum(kinds.values()) for name, kinds in sent.items()}
    found["muon_collective_bytes_over_adam_w"] = round(total["muon"] / total["adam_w"], 3)
    return found | {f"{name}_collective_bytes_on_{DEVICES}_devices": kinds for name, kinds in sent.items()}


def contestants(name: str) -> dict[str, Any]:
    """The experiment with each optimizer, by its word."""
    import jax

    from train.optimizers import LAMB, SGD, Adafactor, AdamW, AdEMAMix, Lion, Muon, Prodigy, ScheduleFree
    from train.registry import load

    declared = load(name).experiment.for_platform(jax.default_backend())
    optimizers = {
        "adam_w": AdamW(),
        "muon": Muon(),
        "lion": Lion(),
        "lamb": LAMB(),
        "adafactor": Adafactor(),
        "ad_ema_mix": AdEMAMix(),
        "prodigy": Prodigy(),
        "schedule_free": ScheduleFree(),
        "sgd": SGD(),
    }
    return {name: dataclasses.replace(declared, optimizer=one) for name, one in optimizers.items()}


def real_batch(name: str) -> Any:
    """The first batch of the experiment, on the host."""
    from data.pipeline import TrainStream
    from data.prepared import open_prepared
    from train.registry import load

    experiment = load(name).experiment
    data, objective = experiment.text_data, experiment.text_objective
    prepared = open_prepared(data)
    corrupt = objective.corrupt(prepared.tokenizer, data.row_length)
    with TrainStream(prepared.train, data, objective.packing(), corrupt, seed=experiment.seed) as stream:
        return next(stream)


def on_mesh(experiment: str) -> dict[str, dict[str, int]]:
    """Bytes by kind of exchange, of AdamW's and of Muon's step, from a process that has eight devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    environment = os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
    words = [sys.executable, "-m", "experiments.bench_optimizers", experiment]
    ended = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ended.stdout.splitlines()[-1])


def collective_bytes(program: str) -> dict[str, int]:
    """Bytes that the collectives of a compiled program give out on one device, by kind.

    >>> collective_bytes("  %a = f32[2,4]{1,0} all-gather(f32[2,2] %b)\\n  %c = (bf16[8]{0}, f32[]) all-reduce(%d, %e)")
    {'all-gather': 32, 'all-reduce': 20}
    """
    found: dict[str, int] = {}
    for shapes, kind in EXCHANGE.findall(program):
        found[kind] = found.get(kind, 0) + sum(
            int(bits) // 8 * math.prod(int(side) for side in sides.split(",") if side)
            for _, bits, sides in ARRAY.findall(shapes)
        )
    return found


def main() -> None:
    """Of the process with eight devices: compiles both steps and prints what they send, as a line of JSON."""
    from experiments.bench_step import compile_for

    experiment = sys.argv[1]
    batch, few = real_batch(experiment), contestants(experiment)
    print(
        json.dumps({n: collective_bytes(compile_for(few[n], batch, "fsdp=8")[0].as_text()) for n in ("adam_w", "muon")})
    )


if __name__ == "__main__":
    main()
