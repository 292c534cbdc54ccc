"""Whole runs of the objectives that predict the next token: they train, resume, score, and report in their own words."""

import json

import pytest

from train.run import Run
from train.tracking import read_metrics

LENGTHS = ("--steps", "4", "--evaluate-every", "2", "--evaluate-rows", "8", "--checkpoint-every", "4")
WAYS = {
    "next_token": (
        "--objective.name",
        "next_token",
        "--objective.z-loss",
        "1e-3",
        "--objective.label-smoothing",
        "0.1",
    ),
    "sequence_to_sequence": ("--objective.name", "sequence_to_sequence", "--data.source", "task:copy/documents=200"),
}


@pytest.mark.parametrize("name", ["next_token", pytest.param("sequence_to_sequence", marks=pytest.mark.slow)])
def test_a_run_scores_and_reports_in_its_own_words(name, here, tmp_path):
    ended = here("--run-dir", tmp_path, *LENGTHS, *WAYS[name])
    assert ended.code == 0, ended.errors
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert ended.output.splitlines()[-1].startswith(
        f"{tmp_path}: held-out loss {scores['valid_loss']:.3f} nats (perplexity {scores['perplexity']:.3f}, "
    )
    assert ("trigram_loss" in scores) == (name == "next_token")
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines if "valid_loss" in line and "event" not in line] == [2, 4]
    steps = [line for line in lines if "loss" in line and "event" not in line]
    assert all({"next", "accuracy"} <= set(line) for line in steps)
    if name == "next_token":
        assert all(line["loss"] == line["next"] > line["next_nll"] and line["z_loss"] > 0 for line in steps)
    report = (tmp_path / "report.html").read_text()
    for words in ("Perplexity", "nats a token", "of their tokens predicted", "What it fills in"):
        assert words in report.replace("Nats a token", "nats a token"), words
    assert "every target hidden" not in report and "Masked accuracy" not in report
    if name == "sequence_to_sequence":
        found = Run.open(tmp_path).evaluate()
        assert found == pytest.approx({key: scores[key] for key in found}, rel=1e-5)
    again = here("--run-dir", tmp_path, *LENGTHS, *WAYS[name])
    assert again.code == 0 and again.output.splitlines()[-1].endswith("(finished before)")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--objective.name", "span_corruption"), "the tokenizer has 0 sentinels, and span corruption of rows of 32 needs 2"),
        (("--objective.name", "sequence_to_sequence"), "is no pair of texts, which this objective needs; name a --data.source"),
        (("--objective.name", "next_token", "--objective.answer-after", "=="), "the vocabulary has no token '==' to answer"),
        (("--objective.name", "next_token", "--objective.z-loss", "-1"), "objective.z_loss=-1.0 must be 0 or more, such as 1e-4"),
        (("--objective.sentence-order", "true"), "objective: a pair has one label; use next_sentence=False"),
        (("--objective.name", "sequence_to_sequence", "--objective.target-length", "40"),
         "data.row_length=32 has a target side of 40 places, which is longer than model.positions.max_length=32"),
        (("--objective.name", "next_tokn"), "did you mean next_token?"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_with_the_remedy_and_begins_no_run(words, error, here, tmp_path, capsys):
    try:
        ended = here("--run-dir", tmp_path, *LENGTHS, *words)
        code, said = ended.code, ended.errors
    except SystemExit as end:  # the command line itself is at fault
        code, said = end.code, capsys.readouterr().err
    assert code == 2
    assert error in said and said.count("\n") == 1
    assert not (tmp_path / "config.json").exists()
