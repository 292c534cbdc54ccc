"""Short texts that share a row: each has the loss and the gradient that it has by itself, and an epoch holds each once."""

from itertools import chain

import jax
import numpy as np
import pytest
from flax import nnx

from data.batch import PADDING_ROW, Row
from data.errors import DataError
from data.tasks.batches import TaskBatches, eval_task_batches
from data.tasks.choices import Answers, Classification, MultiLabel, Regression, Tagging
from data.tasks.config import TaskData
from data.tasks.opened import TaskSet
from data.tasks.packed import fill_rows, most_texts
from model.attention import MultiHead
from model.config import TransformerConfig
from model.mlp import PlainMLP
from model.peft import PromptTuning
from model.positions import RelativeBuckets
from train.fine_tuning import fine_tuning
from train.objectives.tasks import Classify, ClassifyMany, Regress, TagTokens

VOCABULARY, TEXTS, ROOM = 40, 57, 24
KINDS = {
    "classes": (Classification(labels=("a", "b", "c")), Classify),
    "any classes": (MultiLabel(labels=("a", "b", "c")), ClassifyMany),
    "numbers": (Regression(), Regress),
    "tags": (Tagging(labels=("O", "B-X", "I-X")), TagTokens),
}
STACKS = {
    "encoder, first token and pooler": ("encoder", {}, {}),
    "encoder, mean": ("encoder", {"pooling": "mean", "pooler": False}, {}),
    "decoder": ("decoder", {}, {"num_token_types": 0}),
    "encoder-decoder": ("encoder_decoder", {}, {"positions": RelativeBuckets(8, 16), "num_token_types": 0}),
}


def texts(task) -> TaskSet:
    """Rows of 2 to 11 tokens, one text each."""
    draw = np.random.default_rng(0)
    rows = []
    for _ in range(TEXTS):
        size = int(draw.integers(2, 12))
        if isinstance(task, Tagging):
            labels = {
                "tag_targets": draw.integers(0, 3, size).astype(np.int32),
                "tag_weights": draw.integers(0, 2, size).astype(np.float32),
            }
        else:
            target = {
                Classification: draw.integers(0, 3, 1).astype(np.int32),
                MultiLabel: draw.integers(0, 2, (1, 3)).astype(np.float32),
                Regression: draw.normal(size=1).astype(np.float32),
            }[type(task)]
            labels = {"label_targets": target, "label_weights": np.ones(1, np.float32)}
        tokens = draw.integers(1, VOCABULARY, size).astype(np.int32)
        types = (np.arange(size) > size // 2).astype(np.int32)
        rows.append(Row(tokens, np.arange(size, dtype=np.int32), np.ones(size, np.int32), types, labels))
    return TaskSet(task, [], rows, np.arange(TEXTS, dtype=np.int32), pad=0)


def data(task, **fields) -> TaskData:
    return TaskData(task=task, packed=True, **({"row_length": ROOM, "batch_size": 4, "bucket": 1} | fields))


@pytest.mark.parametrize(
    ("kind", "stack"),
    [
        ("classes", "encoder, mean"),
        ("tags", "encoder, mean"),
        ("classes", "decoder"),
        *(pytest.param(kind, "encoder, mean", marks=pytest.mark.slow) for kind in ("any classes", "numbers")),
        pytest.param("classes", "encoder, first token and pooler", marks=pytest.mark.slow),
        pytest.param("classes", "encoder-decoder", marks=pytest.mark.slow),
    ],
)
def test_texts_that_share_a_row_have_the_loss_and_gradient_of_rows_of_their_own(kind, stack):
    task, objective = KINDS[kind]
    stack, head, shape = STACKS[stack]
    head = {} if kind == "tags" else head
    objective = objective(stack=stack, outputs=1 if kind == "numbers" else 3, **head)
    plain = {"attention": MultiHead(2), "mlp": PlainMLP(32), "norm_placement": "pre", "num_token_types": 2}
    config = TransformerConfig(vocab_size=VOCABULARY, hidden_size=16, num_layers=1, **(plain | shape))
    graph, params = nnx.split(objective.build(config, nnx.Rngs(0)))
    task_set = texts(task)
    batches = TaskBatches(task_set, data(task), seed=1)
    held = batches.texts_of(2)[0]
    numbers = held[held != PADDING_ROW]
    assert len(numbers) > len(held)
    alone = TaskSet(task, [], [task_set.rows[number] for number in numbers], np.arange(len(numbers)), pad=0)
    (plain_batch,) = eval_task_batches(alone, data(task), batch_size=len(numbers))

    @jax.jit
    @jax.value_and_grad
    def loss(params, batch):
        (term,) = objective.measure(nnx.merge(graph, params), batch, None).terms.values()
        return term[0] / term[1]

    together, wanted = loss(params, batches[2][0]), loss(params, plain_batch)
    np.testing.assert_allclose(together[0], wanted[0], rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(together[1]), jax.tree.leaves(wanted[1]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_holds_every_text_once_in_rows_that_are_nearly_full(kind):
    task, _ = KINDS[kind]
    task_set = texts(task)
    batches = TaskBatches(task_set, data(task), seed=3)
    one, two = batches.steps(1), batches.steps(2)
    assert one < batches.steps(1.5) < two
    orders = []
    for epoch, numbers in enumerate((range(one), range(one, two))):
        seen = []
        for n in numbers:
            held, epochs, anchor = batches.texts_of(n)
            batch = batches[n][0]
            assert batch.tokens.shape == (4, ROOM) and (epochs == epoch).all()
            assert anchor.epoch_row == len(seen) and anchor.row == epoch * TEXTS + len(seen)
            for row, placed in enumerate(held):
                known = placed[placed != PADDING_ROW]
                tokens = [task_set.rows[number].tokens for number in known]
                filled = batch.segments[row] > 0
                assert np.array_equal(batch.tokens[row][filled], np.concatenate([*tokens, np.zeros(0, np.int32)]))
                assert batch.segments[row].max() == len(known)
                seen += known.tolist()
            assert (batch.segments > 0).mean() > 0.7 or n == numbers[-1]
        assert sorted(seen) == list(range(TEXTS))
        orders.append(seen)
    assert orders[0] != orders[1]


def test_a_batch_is_a_function_of_its_number():
    task_set, packed = texts(Classification(labels=("a", "b", "c"))), data(Classification(labels=("a", "b", "c")))
    whole = TaskBatches(task_set, packed, seed=1)
    later = TaskBatches(task_set, packed, seed=1, start=5)
    halves = [TaskBatches(task_set, packed, seed=1, process_index=i, process_count=2) for i in range(2)]
    for n in range(8):
        found = jax.tree.leaves(whole[5 + n][0])
        for one, two in zip(found, jax.tree.leaves(later[n][0]), strict=True):
            assert np.array_equal(one, two)
        parts = zip(*(jax.tree.leaves(half[5 + n][0]) for half in halves), strict=True)
        for one, both in zip(found, parts, strict=True):
            assert np.array_equal(one, np.concatenate(both))


def test_a_batch_ends_where_a_text_has_room_in_none_of_its_rows():
    draw = np.random.default_rng(0)
    lengths = draw.integers(2, 12, 300)
    order = draw.permutation(300)
    batches = fill_rows(order, lengths, 3, ROOM)
    seen = 0
    for batch in batches:
        held = list(chain.from_iterable(batch))
        assert sorted(held) == sorted(order[seen : seen + len(held)])
        seen += len(held)
    assert seen == len(order)
    for batch, after in zip(batches, [*batches[1:], None], strict=True):
        used = [int(lengths[row].sum()) for row in batch]
        assert max(used) <= ROOM and max(map(len, batch)) <= most_texts(lengths, ROOM)
        if after is not None:
            assert min(used) + lengths[after[0][0]] > ROOM


def test_what_cannot_be_packed_is_told_in_a_line():
    with pytest.raises(DataError, match="rows of Answers hold more; leave it out"):
        TaskData(task=Answers(), packed=True)
    with pytest.raises(DataError, match="batch_tokens=64 is for rows of one text each"):
        data(Classification(), batch_tokens=64)
    with pytest.raises(ValueError, match="before the first text of a row only"):
        fine_tuning(data(Classification()), peft=PromptTuning())
