"""LoRA against full fine-tuning, at the shapes of SST-2 and MiniLM: 6 layers of 384, 32 sentences of 32 tokens, float32.

Memory is what the compiler says of compiled programs: the bytes of all gradients, and of the optimizer's state, that a step
makes and keeps; beside them the temporaries of the whole step, which are activations for the most part. LoRA has rank 8, on
queries and values; the head and the pooler are trained with it. The two steps take turns in one process, medians are compared.
"""

import dataclasses
import statistics
from typing import Any

import jax
import numpy as np

from data.batch import Batch
from data.tasks.known import known_task
from experiments.bench_step import Prepared, prepare, steps_of
from experiments.contest import seconds_of
from model.attention import MultiHead
from model.families import bert
from model.mlp import PlainMLP
from model.peft import LoRA
from train.config import Experiment
from train.fine_tuning import fine_tuning
from train.objectives.tasks import Classify
from train.state import join, parameter_count
from train.step import example_keys

ROWS, LENGTH, VOCABULARY = 32, 32, 30_522
LAYERS, WIDTH, HEADS, FEED_FORWARD = 6, 384, 12, 1_536
RANK = 8
FULL, LORA = "full", "lora"


def bench_lora(rounds: int = 8, steps: int = 5) -> dict[str, Any]:
    """Share of the parameters that LoRA trains, memory of gradients and optimizer of both, and steps/s in turn."""
    batch = sentences()
    prepared = {name: prepare(experiment, batch) for name, experiment in contestants().items()}
    memory = {name: memory_of(experiment, prepared[name]) for name, experiment in contestants().items()}
    takers = {name: steps_of(item) for name, item in prepared.items()}
    seconds: dict[str, list[float]] = {name: [] for name in takers}
    for take in takers.values():
        take()  # warm
    for number in range(rounds):
        for name, take in takers.items():
            seconds[name] += [seconds_of(take) for _ in range(steps)]
        shown = "  ".join(f"{name} {1 / statistics.median(taken):.2f}" for name, taken in seconds.items())
        print(f"turn {number + 1} of {rounds}, steps/s: {shown}", flush=True)
    return summary(memory, seconds) | {"rounds": rounds, "steps_a_turn": steps}


def summary(memory: dict[str, dict[str, int]], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Ratios first, then every figure.

    >>> full = {"parameters": 100, "trained": 100, "gradient_bytes": 400, "optimizer_bytes": 800}
    >>> lora = {"parameters": 102, "trained": 2, "gradient_bytes": 8, "optimizer_bytes": 16}
    >>> found = summary({"full": full, "lora": lora}, {"full": [2.0], "lora": [1.0]})
    >>> found["gradient_and_optimizer_share"], found["lora_over_full"], found["trained_share"]
    (0.02, 2.0, 0.0196)
    """
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    kept = {name: item["gradient_bytes"] + item["optimizer_bytes"] for name, item in memory.items()}
    found: dict[str, Any] = {
        "trained_share": round(memory[LORA]["trained"] / memory[LORA]["parameters"], 4),
        "gradient_and_optimizer_share": round(kept[LORA] / kept[FULL], 4),
        "lora_over_full": round(medians[FULL] / medians[LORA], 3),
    }
    for name, item in memory.items():
        found |= {f"{name}_{key}": value for key, value in item.items()}
        found[f"{name}_ms_a_step"] = round(1e3 * medians[name], 1)
    return found


def contestants() -> dict[str, Experiment]:
    """The same fine-tuning, of all parameters and of few."""
    model = bert.config(
        "small",
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_layers=LAYERS,
        attention=MultiHead(HEADS, dropout_rate=0.1),
        mlp=PlainMLP(FEED_FORWARD, "gelu"),
    )
    full = fine_tuning(known_task("sst2"), objective=Classify(outputs=2), model=model)
    full = dataclasses.replace(full, compute_dtype="float32")
    return {FULL: full, LORA: dataclasses.replace(full, peft=LoRA(rank=RANK))}


def sentences() -> Batch:
    """Rows without padding: of SST-2 a batch in order of length has little of it."""
    draw = np.random.default_rng(0)
    return Batch(
        tokens=draw.integers(1_000, VOCABULARY, (ROWS, LENGTH)).astype(np.int32),
        positions=np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1)),
        segments=np.ones((ROWS, LENGTH), np.int32),
        example_ids=np.arange(ROWS, dtype=np.int32),
        epochs=np.zeros(ROWS, np.int32),
        labels={
            "label_targets": draw.integers(0, 2, (ROWS, 1)).astype(np.int32),
            "label_weights": np.ones((ROWS, 1), np.float32),
        },
        token_types=np.zeros((ROWS, LENGTH), np.int32),
    )


def memory_of(experiment: Experiment, prepared: Prepared) -> dict[str, int]:
    """Bytes by the compiler's analysis, and parameters by count."""
    built, objective = prepared.built, experiment.objective

    def loss(params: Any, frozen: Any, batch: Batch) -> Any:
        model: Any = built.parts.merge(join(params, frozen))
        return sum(total for total, _ in objective.measure(model, batch, example_keys(0, batch)).terms.values())

    target = built.target
    with jax.set_mesh(built.mesh):
        gradients = jax.jit(jax.grad(loss)).lower(target.params, target.frozen, prepared.batch).compile()
        moments = jax.jit(built.optimizer.init).lower(target.params).compile()
    seen: dict[str, Any] = {"gradient": gradients.memory_analysis(), "optimizer": moments.memory_analysis()}
    whole: Any = prepared.compiled.memory_analysis()
    return {
        "parameters": parameter_count(built.parts.params),
        "trained": parameter_count(target.params),
        "gradient_bytes": int(seen["gradient"].output_size_in_bytes),
        "optimizer_bytes": int(seen["optimizer"].output_size_in_bytes),
        "step_temporary_bytes": int(whole.temp_size_in_bytes),
        "step_argument_bytes": int(whole.argument_size_in_bytes),
    }
