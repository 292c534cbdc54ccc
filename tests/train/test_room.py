"""Sizes out of all proportion are one line before anything is allocated; what has room is never refused."""

import dataclasses

import jax
import pytest

from data.config import TextData
from data.corpus import open_corpora
from data.errors import DataError
from data.sources import Synthetic, parse_source
from model.families import bert
from train import room
from train.config import Experiment
from train.objectives import MaskedLM
from train.optimizers import AdamW
from train.overrides import overridden
from train.room import RoomError, check_room, check_rows, host_memory
from train.sharding import MeshShape, make_mesh
from train.state import build

SMALL = Experiment(
    data=TextData(Synthetic(60), row_length=64, batch_size=8),
    model=bert.config("tiny", vocab_size=300, max_length=64),
    objective=MaskedLM(),
    optimizer=AdamW(),
    steps=4,
)


def changed(**fields) -> Experiment:
    return overridden(SMALL, {name.replace("__", "."): str(value) for name, value in fields.items()}, known=())


@pytest.mark.parametrize(
    "fields",
    [
        {"data__batch_size": 10**12},
        {"steps": 10**21},
        {"model__mlp__intermediate_size": 10**22},
        {"model__num_layers": 10**6},
        {"model__positions__max_length": 10**10},
    ],
    ids=str,
)
def test_no_number_is_larger_than_an_array_may_be(fields):
    with pytest.raises(ValueError, match=r"(is too large; use 2147483647 at most|at most 4096)$"):
        changed(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"data__batch_size": 10**9},
        {"data__row_length": 10**9, "model__positions__max_length": 10**9},
        {"model__hidden_size": 2 * 10**9, "data__batch_size": 512},
    ],
    ids=str,
)
def test_a_batch_without_room_is_refused(fields):
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    check_rows(SMALL, mesh)
    with pytest.raises(RoomError, match=r"GiB or more on each device, and there are .*; lower one of them"):
        check_rows(changed(**fields), mesh)


def test_a_model_without_room_is_refused_and_one_with_room_is_not(monkeypatch):
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    built = build(SMALL, mesh)
    check_room(built)
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(built.target))
    monkeypatch.setattr(room, "memory", lambda mesh: needed)
    check_room(built)
    monkeypatch.setattr(room, "memory", lambda mesh: needed - 1)
    with pytest.raises(
        RoomError, match=r"the largest of them params\.layers\.mlp\.\w+\.kernel with .*; make the model smaller"
    ):
        check_room(built)
    monkeypatch.undo()
    with pytest.raises(RoomError):
        check_room(build(dataclasses.replace(SMALL, model=dataclasses.replace(SMALL.model, hidden_size=10**9)), mesh))


def test_the_memory_of_this_machine_is_known():
    assert (host_memory() or 0) > 2**28


def test_documents_that_take_long_to_make_are_asked_for():
    assert [open_corpora(parse_source(word))[0].large for word in ("synthetic:1000", "synthetic:1000000", "task:copy",
            "task:copy/documents=100000000", "task:modular", "task:modular/prime=9973")] == [False, True] * 3  # fmt: skip
    for word in ("synthetic:100000000000000", "task:copy/longest=1000000000", "task:repeats/vocabulary=10000000000"):
        with pytest.raises(DataError, match="use "):
            parse_source(word)
