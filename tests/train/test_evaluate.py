"""What train.evaluate takes of the data: each field is used, or refused in one line."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from data.config import TextData
from data.tasks.choices import Classification, Similarity
from data.tasks.config import TaskData
from data.tokenizers import Bytes
from train.command import InputError
from train.evaluate import READ_OF_TASKS, READ_OF_TEXT, check_begun, check_data

CHANGES = {
    "source": "other",
    "tokenizer": Bytes(),
    "row_length": 8,
    "batch_size": 2,
    "batch_tokens": 99,
    "packed": True,
    "stride": 3,
    "bucket": 7,
    "grouped": 2,
    "valid_fraction": 0.5,
    "drop_repeated": True,
    "train_limit": 1,
    "valid_limit": 1,
    "valid_split": "tail",
    "valid_documents": 2,
    "window": 5,
}


def refused(before, out="", own=True, **changes):
    """What is said of these changes of the data; empty where they are taken."""
    experiments = [SimpleNamespace(data=data, is_task=isinstance(data, TaskData))
                   for data in (before, dataclasses.replace(before, **changes))]  # fmt: skip
    request: Any = SimpleNamespace(base=experiments[0], experiment=experiments[1], options=SimpleNamespace(out=out))
    try:
        check_data(request, own=own)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("data", [TextData(), TaskData()], ids=["text", "task"])
def test_every_field_is_used_or_refused(data):
    read = READ_OF_TASKS if isinstance(data, TaskData) else READ_OF_TEXT
    names = {field.name for field in dataclasses.fields(data)} - {"task"}
    assert names <= set(CHANGES)
    for name in names:
        said = refused(data, own=False, **{name: CHANGES[name]})
        assert ("is of training only" in said) == (name not in read), name
        said = refused(data, **{name: CHANGES[name]})
        assert bool(said) == (name not in ("source", "batch_size", "bucket", "packed")), name


def test_other_scores_of_the_held_out_part_go_elsewhere():
    assert "add --out FILE" in refused(TextData(), row_length=64) and not refused(TextData(), "new", row_length=64)
    assert "name others with --data.source" in refused(TaskData(), "new", row_length=64)
    alike = TaskData(Similarity())  # texts are compared with all others of their batch
    assert "add --out FILE" in refused(alike, batch_size=2) and not refused(alike, "new", batch_size=2)
    assert "--data.task.metrics is not for" in refused(TaskData(), task=Classification(metrics=("f1",)))


def test_a_held_out_part_that_nothing_vouches_for_is_scored_only_into_a_file_of_its_own(tmp_path):
    for other, out in ((True, None), (False, "new")):
        check_begun(tmp_path, other=other, out=out)
    with pytest.raises(
        InputError, match=r"run\.json is gone, .* held-out part .*; restore it from a copy, or add --out FILE"
    ):
        check_begun(tmp_path, other=False, out=None)
    (tmp_path / "run.json").touch()
    check_begun(tmp_path, other=False, out=None)
