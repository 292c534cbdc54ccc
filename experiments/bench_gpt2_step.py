"""One training step at nanoGPT's shape for a CPU: ours against Hugging Face's GPT-2 in torch.

Both take the same full step on 12 x 64 tokens: 4 layers of 128, 4 heads, vocabulary 65, no dropout, loss on every next token,
gradient, clipping to norm 1, AdamW, float32, all cores. At this size a step is some ten milliseconds of many small
operations, so what is measured is mostly overhead: launching, transposing, reading and writing.

Each contestant is a process of its own, kept waiting while the other runs; they take turns, and medians are compared.
"""

import os
import statistics
import sys
from typing import Any

from experiments.contest import Contestant, serve, torch_versions

ROWS, LENGTH, VOCABULARY = 12, 64, 65
LAYERS, WIDTH, HEADS = 4, 128, 4
MODULE = "experiments.bench_gpt2_step"


def bench_gpt2_step(rounds: int = 10, steps: int = 20, peer_python: str = sys.executable) -> dict[str, Any]:
    """Tokens/s of both, and ours over theirs; medians over `rounds` turns of `steps` steps."""
    versions = torch_versions(peer_python)
    if not versions:
        print(
            "!!! NO PEER: torch and transformers are not installed here, so that only our own speed is measured.\n"
            "!!! pip install torch==2.13.0 transformers, or name an interpreter that has them: --peer-python PATH",
            file=sys.stderr,
        )
    load_before = os.getloadavg()[0]
    contestants = {"loupe": Contestant(sys.executable, MODULE, "loupe")}
    try:
        if versions:
            contestants["hugging_face"] = Contestant(peer_python, MODULE, "hugging_face")
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(rounds):
            for name, contestant in contestants.items():
                seconds[name] += contestant.ask("steps", steps)
            shown = "  ".join(f"{n} {ROWS * LENGTH / statistics.median(s):.0f}" for n, s in seconds.items())
            print(f"turn {number + 1} of {rounds}, tokens/s: {shown}", flush=True)
        busy = {"load_average_at_start_and_end": [round(load, 1) for load in (load_before, os.getloadavg()[0])]}
        return summary(seconds) | {"rounds": rounds, "steps_a_turn": steps} | busy | versions
    finally:
        for contestant in contestants.values():
            contestant.close()


def summary(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians of seconds a step, as speeds and ratios.

    >>> summary({"loupe": [1.0], "hugging_face": [1.5]})["loupe_over_hugging_face"]
    1.5
    """
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    found: dict[str, Any] = {f"{name}_tokens_per_second": round(ROWS * LENGTH / s) for name, s in medians.items()}
    found |= {f"loupe_over_{name}": round(s / medians["loupe"], 3) for name, s in medians.items() if name != "loupe"}
    found |= {f"{name}_ms_a_step": round(1e3 * s, 2) for name, s in medians.items()}
    return found | {f"{name}_fastest_ms": round(1e3 * min(taken), 2) for name, taken in seconds.items()}


def run_loupe() -> None:
    """Our contestant: the step of experiments/shakespeare_char.py."""
    from train.memory import keep_freed_memory

    keep_freed_memory()

    import dataclasses

    import numpy as np

    from data.batch import Batch
    from experiments.bench_step import stepper
    from experiments.shakespeare_char import experiment

    experiment = dataclasses.replace(experiment, compute_dtype="float32")
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (ROWS, LENGTH + 1)).astype(np.int32)
    batch = Batch(
        tokens=tokens[:, :-1],
        positions=np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1)),
        segments=np.ones((ROWS, LENGTH), np.int32),
        example_ids=np.arange(ROWS, dtype=np.int32),
        epochs=np.zeros(ROWS, np.int32),
        labels={"next_targets": tokens[:, 1:], "next_weights": np.ones((ROWS, LENGTH), np.float32)},
    )
    serve(stepper(experiment, batch))


def run_torch() -> None:
    """The peer: Hugging Face's GPT-2 in torch at the same shape."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import GPT2Config, GPT2LMHeadModel  # pyright: ignore[reportMissingImports]
    from transformers.utils import logging  # pyright: ignore[reportMissingImports]

    logging.set_verbosity_error()
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=LENGTH,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, betas=(0.9, 0.99), fused=True)
    tokens = torch.randint(0, VOCABULARY, (ROWS, LENGTH + 1))

    def step() -> None:
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), tokens[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    serve(step)


if __name__ == "__main__":
    run_loupe() if sys.argv[1] == "loupe" else run_torch()
