"""One training step of BERT-small: ours against Hugging Face's model in torch, and against torch that spares what we spare.

Everyone takes the same full step on 16 x 128 tokens: 20 hidden targets a row, masked-LM and next-sentence loss, dropout
0.1, gradient, clipping to norm 1, AdamW, float32, vocabulary 30,522, all cores.

- loupe: the compiled step that `train.pretrain` runs, made of the same parts.
- hugging_face: `BertForPreTraining` as it stands, which computes logits at all 128 places.
- torch_gather: the same model, gathering the 20 places before its output layer, as ours does.

Each contestant is a process of its own, kept waiting while the others run; they take turns (A B C A B C ...), and medians
over all turns are compared. Between turns our process also times a large matrix product: the machine's peak.
"""

import os
import statistics
import sys
from typing import Any

from experiments.contest import Contestant, seconds_of, serve, torch_versions

ROWS, LENGTH, TARGETS, VOCABULARY = 16, 128, 20, 30_522
LAYERS, WIDTH, HEADS, FEED_FORWARD = 4, 512, 8, 2_048
PEAK_SIZE = 2_048
PEERS = ("hugging_face", "torch_gather")
MODULE = "experiments.bench_bert_step"


def bench_bert_step(
    rounds: int = 8, steps: int = 3, loop: str = "unroll", peer_python: str = sys.executable
) -> dict[str, Any]:
    """Tokens/s of everyone, and ours over theirs; medians over `rounds` turns of `steps` steps."""
    versions = torch_versions(peer_python)
    peers = PEERS if versions else ()
    if not peers:
        print(
            "!!! NO PEER: torch and transformers are not installed here, so that only our own speed is measured.\n"
            "!!! pip install torch==2.13.0 transformers, or name an interpreter that has them: --peer-python PATH",
            file=sys.stderr,
        )
    load_before = os.getloadavg()[0]  # other programs at work, before we begin: close to 0 on a quiet machine
    contestants = {"loupe": Contestant(sys.executable, MODULE, "loupe", loop)}
    try:
        for name in peers:
            contestants[name] = Contestant(peer_python, MODULE, name)
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        peaks: list[float] = []
        for number in range(rounds):
            for name, contestant in contestants.items():
                seconds[name] += contestant.ask("steps", steps)
            peaks += contestants["loupe"].ask("peak", steps)
            shown = "  ".join(f"{n} {ROWS * LENGTH / statistics.median(s):.0f}" for n, s in seconds.items())
            print(f"turn {number + 1} of {rounds}, tokens/s: {shown}", flush=True)
        busy = {"load_average_at_start_and_end": [round(load, 1) for load in (load_before, os.getloadavg()[0])]}
        return summary(seconds, peaks) | {"rounds": rounds, "steps_a_turn": steps, "loop": loop} | busy | versions
    finally:
        for contestant in contestants.values():
            contestant.close()


def summary(seconds: dict[str, list[float]], peaks: list[float]) -> dict[str, Any]:
    """Medians of seconds a step and of GFLOP/s, as speeds, ratios and the share of the peak that the step reaches.

    >>> summary({"loupe": [1.0], "hugging_face": [2.0]}, [400.0])["loupe_over_hugging_face"]
    2.0
    """
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    peak, ours = statistics.median(peaks), medians["loupe"]
    found: dict[str, Any] = {f"{name}_tokens_per_second": round(ROWS * LENGTH / s) for name, s in medians.items()}
    found |= {f"loupe_over_{name}": round(s / ours, 3) for name, s in medians.items() if name != "loupe"}
    found |= {f"{name}_ms_a_step": round(1e3 * s) for name, s in medians.items()}
    found |= {f"{name}_fastest_ms": round(1e3 * min(taken)) for name, taken in seconds.items()}
    return found | {
        "matmul_peak_gflops": round(peak),
        "step_products_gflop": round(product_flops() / 1e9, 1),
        "fraction_of_matmul_peak": round(product_flops() / ours / (1e9 * peak), 3),
    }


def product_flops() -> int:
    """Floating-point operations of the step's matrix products: forward, and twice as many backward.

    A multiplication and an addition for each: per layer the four projections and two products of the attention and the two
    of the MLP; in the head the transform and the logits of the targets. The pair head, below 1e-4 of it, is left out.

    >>> round(product_flops() / 1e9, 1)
    191.6
    """
    tokens, targets = ROWS * LENGTH, ROWS * TARGETS
    layer = tokens * (4 * WIDTH * WIDTH + 2 * LENGTH * WIDTH + 2 * WIDTH * FEED_FORWARD)
    head = targets * (WIDTH * WIDTH + WIDTH * VOCABULARY)
    return 3 * 2 * (LAYERS * layer + head)


def run_loupe(loop: str) -> None:
    """Our contestant: the parts that a session puts together, on one fixed batch."""
    from train.memory import keep_freed_memory

    keep_freed_memory()

    import jax
    import jax.numpy as jnp
    import numpy as np

    from data.batch import Batch
    from data.config import TextData
    from experiments.bench_step import stepper
    from model.families import bert
    from model.stack import Stack
    from train.config import Experiment
    from train.objectives import MaskedLM
    from train.optimizers import AdamW

    experiment = Experiment(
        data=TextData(row_length=LENGTH, batch_size=ROWS),
        model=bert.config("small", vocab_size=VOCABULARY, stack=Stack(loop)),  # type: ignore[arg-type]
        objective=MaskedLM(),
        optimizer=AdamW(weight_decay=0.01, clip_norm=1.0),
        steps=1_000,
        compute_dtype="float32",
    )
    draw = np.random.default_rng(0)
    tokens, types = draw.integers(1_000, VOCABULARY, (ROWS, LENGTH)), np.arange(LENGTH) >= LENGTH // 2
    places = np.sort([draw.permutation(LENGTH)[:TARGETS] for _ in range(ROWS)])
    batch = Batch(
        tokens=tokens.astype(np.int32),
        positions=np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1)),
        segments=np.ones((ROWS, LENGTH), np.int32),
        example_ids=np.arange(ROWS, dtype=np.int32),
        epochs=np.zeros(ROWS, np.int32),
        labels={
            "masked_places": places.astype(np.int32),
            "masked_targets": np.take_along_axis(tokens, places, 1).astype(np.int32),
            "masked_weights": np.ones((ROWS, TARGETS), np.float32),
            "next_sentence_places": np.zeros((ROWS, 1), np.int32),
            "next_sentence_targets": draw.integers(0, 2, (ROWS, 1)).astype(np.int32),
            "next_sentence_weights": np.ones((ROWS, 1), np.float32),
        },
        token_types=np.tile(types.astype(np.int32), (ROWS, 1)),
    )
    matrix = jnp.ones((PEAK_SIZE, PEAK_SIZE), jnp.float32)
    product = jax.jit(lambda a: a @ a).lower(matrix).compile()

    def peak() -> float:
        return 2 * PEAK_SIZE**3 / seconds_of(lambda: product(matrix).block_until_ready()) / 1e9

    peak()
    serve(stepper(experiment, batch), peak)


def run_torch(gather: bool) -> None:
    """The peers: Hugging Face's BERT in torch, all places or the hidden ones only."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import BertConfig, BertForPreTraining  # pyright: ignore[reportMissingImports]
    from transformers.utils import logging  # pyright: ignore[reportMissingImports]

    logging.set_verbosity_error()
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FEED_FORWARD,
    )
    model = BertForPreTraining(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    tokens = torch.randint(1_000, VOCABULARY, (ROWS, LENGTH))
    types = (torch.arange(LENGTH) >= LENGTH // 2).long().expand(ROWS, LENGTH)
    places = torch.stack([torch.randperm(LENGTH)[:TARGETS].sort().values for _ in range(ROWS)])
    targets, follows = tokens.gather(1, places), torch.randint(0, 2, (ROWS,))
    labels = torch.full_like(tokens, -100).scatter(1, places, targets)
    cross_entropy = torch.nn.functional.cross_entropy

    def loss():
        if not gather:
            return model(input_ids=tokens, token_type_ids=types, labels=labels, next_sentence_label=follows).loss
        hidden, pooled = model.bert(input_ids=tokens, token_type_ids=types)[:2]
        hidden = hidden.gather(1, places[:, :, None].expand(-1, -1, WIDTH))
        scores = model.cls.predictions(hidden).view(-1, VOCABULARY)
        return cross_entropy(scores, targets.view(-1)) + cross_entropy(model.cls.seq_relationship(pooled), follows)

    def step() -> None:
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    serve(step)


if __name__ == "__main__":
    contestant, *words = sys.argv[1:]
    run_loupe(*words) if contestant == "loupe" else run_torch(gather=contestant == "torch_gather")
