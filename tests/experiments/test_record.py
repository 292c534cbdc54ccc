"""A result is what run folders say: one run as it is, several seeds with their mean, and nothing that is no comparison."""

import dataclasses
import json
import sys

import pytest

from data.tasks.known import known_task
from experiments import bert_tiny, record
from model.config import to_json
from train.command import run_command
from train.fine_tuning import fine_tuning


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Makes the folder of a finished run of two steps; results go beside it."""
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")

    def make(name, seed, loss, reached=2, of=bert_tiny.experiment, **changed):
        folder = tmp_path / name
        folder.mkdir()
        experiment = dataclasses.replace(of, **{"seed": seed, "steps": 2, **changed})
        files = {"config": to_json(experiment), "run": {"experiment": "bert_tiny"}}
        files |= {"scores": {"valid_loss": loss, "step": reached}, "environment": {"python": "3"}}
        for word, content in files.items():
            (folder / f"{word}.json").write_text(json.dumps(content))
        lines = [
            {"step": step, "loss": loss, "tokens": 10, "seconds": 60.0, "tokens_per_second": 10.0} for step in (1, 2)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    return make


def recorded(*folders, monkeypatch, capsys):
    """Exit code, standard error and the results that were written."""
    monkeypatch.setattr(sys, "argv", ["experiments.record", *map(str, folders)])
    code, error = run_command(record.main), capsys.readouterr().err
    written = record.RESULTS.glob("*.json") if record.RESULTS.exists() else ()
    return code, error, {path.name: json.loads(path.read_text()) for path in written}


def test_one_run_gives_flat_figures_and_seeds_give_means(finished, monkeypatch, capsys):
    one, other = finished("one", 1, 3.0), finished("other", 5, 4.0)
    code, error, results = recorded(one, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, error) == (0, "")
    found = results["bert_tiny.json"]
    assert (found["valid_loss"], found["tokens"], found["minutes"], found["step"]) == (3.0, 20, 2.0, 2)

    found = recorded(one, other, monkeypatch=monkeypatch, capsys=capsys)[2]["bert_tiny.json"]
    assert found["valid_loss"]["by_seed"] == {"1": 3.0, "5": 4.0}
    assert found["valid_loss"]["mean"] == 3.5 and found["valid_loss"]["spread"] == pytest.approx(0.5**0.5)
    assert found["environment"] == {"python": "3"} and "step" not in found


def test_an_epoch_may_be_a_step_longer_with_another_seed(finished, monkeypatch, capsys):
    task = fine_tuning(known_task("library_parts"), epochs=1.0)
    one, other = finished("one", 1, 3.0, of=task), finished("other", 2, 4.0, reached=3, of=task, steps=3)
    code, error, results = recorded(one, other, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, error) == (0, "") and results["bert_tiny.json"]["valid_loss"]["mean"] == 3.5


def test_what_is_no_comparison_is_refused_and_nothing_is_written(finished, tmp_path, monkeypatch, capsys):
    one, same, longer = (
        finished("one", 1, 3.0),
        finished("same", 1, 3.5),
        finished("longer", 2, 3.0, reached=3, steps=3),
    )
    changed = finished("changed", 2, 3.0, accumulate=2)
    stopped = finished("stopped", 3, 3.0, reached=1)
    for folders, said in [
        ((one, same), "have one seed"),
        ((one, changed), "differ in more than the seed"),
        ((one, longer), "differ in more than the seed"),
        ((one, stopped), "is not finished"),
        ((tmp_path / "none",), "is not a run folder"),
        ((), "which run?"),
    ]:
        code, error, results = recorded(*folders, monkeypatch=monkeypatch, capsys=capsys)
        assert code == 2 and said in error and error.count("\n") == 1 and not results, error
