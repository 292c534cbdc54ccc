"""What a run folder keeps of its data comes out of the data again, to the byte, once the run has settled what was left open."""

import json

import pytest

from data.tasks.choices import (
    Answers,
    Classification,
    Generation,
    MultiLabel,
    MultipleChoice,
    Regression,
    Similarity,
    Tagging,
)
from data.tasks.config import TaskData
from data.tasks.sources import TaskFiles
from data.tokenizers import Bytes
from data.tokenizers.plain import ByteTokenizer
from model.config import to_json
from train.fine_tuning import fine_tuning
from train.folder import RunError, RunFolder, digest_of_file
from train.material import MADE, TaskMaterial, mend, with_notes
from train.objectives import NextToken, SequenceToSequence
from train.origin import Origin, check_init, check_sides
from train.registry import load

TAGS = "Anna I-PER\nwent O\n\nAnna I-PER\nBoris B-PER\nran O\n\n" * 3
CLASSES = [{"text": f"{word} {n}", "label": word} for n in range(6) for word in ("sunny", "rainy")]
MANY = [{"text": "both", "label": "sunny,rainy"}, {"text": "none", "label": ""}, *CLASSES]
NUMBERS = [{"text": f"text {n}", "label": n / 4} for n in range(8)]
PAIRS = [{"text": f"text {n}", "target": f"the target of {n}"} for n in range(8)]
CHOICES = [{"text": f"text {n}", "choices": ["one", "two"], "label": n % 2} for n in range(8)]
QUESTION = {"id": "q", "question": "who", "context": "Anna went", "answers": {"text": ["Anna"], "answer_start": [0]}}
KINDS = {
    "tags": (Tagging(), TAGS),
    "classes": (Classification(metrics=("accuracy", "f1")), CLASSES),
    "many": (MultiLabel(), MANY),
    "numbers": (Regression(), NUMBERS),
    "written": (Generation(), PAIRS),
    "choices": (MultipleChoice(), CHOICES),
    "alike": (Similarity(text=("text",)), PAIRS),
    "answers": (Answers(), [QUESTION | {"id": str(n), "context": f"Anna went {n}"} for n in range(9)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_a_task_come_out_of_the_data_again(kind, tmp_path):
    task, content = KINDS[kind]
    path = tmp_path / ("a.conll" if isinstance(content, str) else "a.jsonl")
    path.write_text(content if isinstance(content, str) else "".join(json.dumps(line) + "\n" for line in content))
    source = TaskFiles(str(path), str(path) if kind == "tags" else None)
    experiment = fine_tuning(TaskData(task, source, Bytes(), row_length=64, stride=8, valid_fraction=0.4))
    first = TaskMaterial.open(experiment, folder := RunFolder(tmp_path / "run"), None, (), lambda line: None)
    first.begin(folder)
    folder.write("config.json", to_json(first.experiment))
    files = folder.seal()
    folder.write_begun(first.reading | {"files": files})
    assert folder.labels_are_sorted() == (kind in ("classes", "many", "tags"))
    again = TaskMaterial.open(experiment.as_begun(first.experiment), folder, None, (), lambda line: None)
    again.begin(made := RunFolder(tmp_path / "made"))
    names = [name for name in files if name.startswith(MADE)]
    assert len(names) > 2 and all(files[name] == [digest_of_file(made / name)] for name in names)
    if kind == "tags":
        assert "tags are read as IOB1" in str(first.notes) and "tags are read" not in str(again.notes)
    for name in names:
        (folder / name).write_text("{")
    said: list[str] = []
    mend(folder, again, said.append)
    assert len(said) == len(names) and not folder.faults(*names)


def test_folders_of_before_have_notes_in_data_json(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in CLASSES))
    data = TaskData(Classification(labels=("rainy", "sunny")), TaskFiles(str(path)), Bytes(), valid_fraction=0.4)
    material = TaskMaterial.open(fine_tuning(data), folder := RunFolder(tmp_path / "run"), None, (), lambda line: None)
    material.begin(folder)
    before = with_notes(folder.read("data.json") or {}, material.notes)
    assert material.notes and list(before)[-2:] == ["notes", "floors"]
    folder.write("data.json", before)
    folder.write_begun({"files": folder.seal()})
    (folder / "data.json").unlink()
    mend(folder, material, lambda line: None)
    assert folder.read("data.json") == before


def test_a_task_that_writes_fits_its_objective_and_the_model_that_learns_it():
    one, two = Generation(sides="one"), Generation(sides="two")

    def data(task):
        return TaskData(task, TaskFiles("a.tsv"))

    written = fine_tuning(data(one))
    assert isinstance(written.objective, NextToken)
    assert isinstance(fine_tuning(data(two)).objective, SequenceToSequence)
    with pytest.raises(
        ValueError, match=r"one side; add --data\.task\.sides one, or use --objective\.name sequence_to_seq"
    ):
        fine_tuning(data(two), objective=NextToken())
    with pytest.raises(
        ValueError, match=r"two sides; add --data\.task\.sides two, or use --objective\.name next_token"
    ):
        fine_tuning(data(one), objective=SequenceToSequence())

    model = written.model
    for stack, task, said in (
        ("encoder", two, "X is an encoder, which writes no text"),
        ("decoder", two, "X is a decoder, and .* two sides; add --objective.name next_token --data.task.sides one"),
        (
            "encoder_decoder",
            one,
            "model of one side; add --objective.name sequence_to_sequence --data.task.sides two",
        ),
    ):
        with pytest.raises(RunError, match=said):
            check_sides(Origin("X", ByteTokenizer(), model, stack, lambda mesh: ({}, None)), task)
    check_sides(Origin("X", ByteTokenizer(), model, "decoder", lambda mesh: ({}, None)), one)
    check_sides(Origin("X", ByteTokenizer(), model, "encoder", lambda mesh: ({}, None)), Classification())


def test_what_init_names_is_looked_at_before_any_data(tmp_path):
    with pytest.raises(RunError, match=r"none is not a run folder: there is none of this name; .* published folder"):
        check_init(str(tmp_path / "none"))
    with pytest.raises(RunError, match="is not a run folder, nor a published one"):
        check_init(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(to_json(load("bert_tiny").experiment)))
    with pytest.raises(RunError, match="has no checkpoint yet"):
        check_init(str(tmp_path))
    check_init(str(tmp_path), fresh=True)
