"""Text from GPT-2's 124 million parameters: ours against Hugging Face's `generate`, greedy, at batch 1 and 8.

Both go on from prompts of 32 random tokens for 64 tokens, float32, random weights (what is written does not matter, only how
fast), each with its own cache of keys and values, all cores. Beside them stand our weights in bfloat16 and int8.

Each contestant is a process of its own, kept waiting while the others run; they take turns, and medians are compared. At
batch 1 every token reads all the weights once, so that memory is the limit, not arithmetic.
"""

import os
import statistics
import sys
from typing import Any

from experiments.contest import Contestant, serve, torch_versions

PROMPT, NEW, VOCABULARY = 32, 64, 50_257
BATCHES = (1, 8)
MODULE = "experiments.bench_generate"
OPTIONS = ("bfloat16", "int8")


def bench_generate(rounds: int = 5, steps: int = 2, peer_python: str = sys.executable) -> dict[str, Any]:
    """Tokens/s of all, and ours over theirs; medians over `rounds` turns of `steps` texts at each batch size."""
    versions = torch_versions(peer_python)
    if not versions:
        print(
            "!!! NO PEER: torch and transformers are not installed here, so that only our own speed is measured.\n"
            "!!! pip install torch==2.13.0 transformers, or name an interpreter that has them: --peer-python PATH",
            file=sys.stderr,
        )
    load_before = os.getloadavg()[0]
    names = ["loupe", *(f"loupe_{option}" for option in OPTIONS)]
    contestants: dict[tuple[str, int], Contestant] = {}
    try:
        for batch in BATCHES:
            for name in names:
                weights = name.removeprefix("loupe").lstrip("_") or "float32"
                contestants[name, batch] = Contestant(sys.executable, MODULE, "loupe", str(batch), weights)
            if versions:
                contestants["hugging_face", batch] = Contestant(peer_python, MODULE, "hugging_face", str(batch))
        seconds: dict[tuple[str, int], list[float]] = {who: [] for who in contestants}
        for number in range(rounds):
            for who, contestant in contestants.items():
                seconds[who] += contestant.ask("steps", steps)
            shown = "  ".join(f"{name} x{b} {b * NEW / statistics.median(s):.0f}" for (name, b), s in seconds.items())
            print(f"turn {number + 1} of {rounds}, tokens/s: {shown}", flush=True)
        busy = {"load_average_at_start_and_end": [round(load, 1) for load in (load_before, os.getloadavg()[0])]}
        return summary(seconds) | {"rounds": rounds, "texts_a_turn": steps} | busy | versions
    finally:
        for contestant in contestants.values():
            contestant.close()


def summary(seconds: dict[tuple[str, int], list[float]]) -> dict[str, Any]:
    """Medians of seconds a text, by contestant and batch size, as speeds and ratios.

    >>> summary({("loupe", 1): [1.0], ("hugging_face", 1): [2.0]})["loupe_over_hugging_face_batch_1"]
    2.0
    """
    medians = {who: statistics.median(taken) for who, taken in seconds.items()}
    found: dict[str, Any] = {}
    for batch in sorted({batch for _, batch in medians}):
        of_batch = {name: taken for (name, b), taken in medians.items() if b == batch}
        for name, taken in of_batch.items():
            found[f"{name}_tokens_per_second_batch_{batch}"] = round(batch * NEW / taken, 1)
        if theirs := of_batch.get("hugging_face"):
            for name in (name for name in of_batch if name != "hugging_face"):
                found[f"{name}_over_hugging_face_batch_{batch}"] = round(theirs / of_batch[name], 3)
    return found


def run_loupe(batch: int, weights: str) -> None:
    """Our contestant: `generate` as the command calls it."""
    from train.memory import keep_freed_memory

    keep_freed_memory()

    import numpy as np
    from flax import nnx

    from model.decoder import LanguageModel
    from model.families import gpt2
    from model.generation import generate, prepare

    ready = prepare(LanguageModel(gpt2.config("small"), rngs=nnx.Rngs(0)), weights)  # type: ignore[arg-type]
    prompts = list(np.random.default_rng(0).integers(0, VOCABULARY, (batch, PROMPT)))

    def step() -> None:
        (first, *_), *_ = generate(ready, prompts, max_new_tokens=NEW)
        assert len(first.tokens) == NEW

    serve(step)


def run_torch(batch: int) -> None:
    """The peer: Hugging Face's GPT-2 in torch, by its own `generate`."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import GPT2Config, GPT2LMHeadModel  # pyright: ignore[reportMissingImports]
    from transformers.utils import logging  # pyright: ignore[reportMissingImports]

    logging.set_verbosity_error()
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval()
    prompts = torch.randint(0, VOCABULARY, (batch, PROMPT))
    mask = torch.ones_like(prompts)

    def step() -> None:
        with torch.inference_mode():
            texts = model.generate(
                prompts, attention_mask=mask, do_sample=False, min_new_tokens=NEW, max_new_tokens=NEW, pad_token_id=0
            )
        assert texts.shape[1] == PROMPT + NEW

    serve(step)


if __name__ == "__main__":
    contestant, size, *words = sys.argv[1:]
    run_loupe(int(size), *words) if contestant == "loupe" else run_torch(int(size))
