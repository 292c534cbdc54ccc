"""The files of a run folder: what is not as it was written is made again and said, or refused in one line."""

import json
import re
import shutil

import pytest

from train.agreement import is_finished, lost_results
from train.checkpoint import CheckpointError, state_digest
from train.evaluate import place_of
from train.folder import FORMAT, RunError, RunFolder
from train.lines import LineFile, is_marked, read_metrics
from train.run import Run
from train.verify import compare_runs

EVERY = ("--evaluate-every", "2", "--checkpoint-every", "2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Where the runs lie that tests copy."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def half(here, made, tmp_path):
    """A run of two steps, for this test alone."""
    if not (made / "half").is_dir():
        assert here("--run-dir", made / "half", "--steps", "2", *EVERY).code == 0
    return shutil.copytree(made / "half", tmp_path / "half")


def flip(path, place=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 1
    path.write_bytes(data)


def folder_of(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "changed": flip,
    "lost": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "a folder": folder_of,
}


def test_what_comes_out_of_the_data_is_made_again(here, half, made):
    """Each file with another damage, all of them at once; the run ends as if nothing had been."""
    whole = made / "whole"
    if not whole.is_dir():
        shutil.copytree(half, whole)
        assert here("--run-dir", whole, "--steps", "4", *EVERY).code == 0
    names = sorted(name for name in RunFolder(half).begun()["files"] if name not in ("base.json", "config.json"))
    assert any(name.startswith("tokenizer/") for name in names) and {"held_out.jsonl.gz", "data.json"} < set(names)
    for name, damage in zip(names, [*DAMAGES.values()] * len(names), strict=False):
        damage(half / name)
    with pytest.raises(RunError, match=r"tokenizer/\S+ (has changed|is gone|cannot be read)"):
        Run.open(half)
    ended = here("--run-dir", half, "--steps", "4", *EVERY)
    assert ended.code == 0, ended.errors
    for name in names:
        assert f"{half / name} " in ended.output and "it was made again from the data" in ended.output
    assert compare_runs(half, whole) == [] and RunFolder(half).faults("tokenizer", *names) == {}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["config.json", "run.json"])
def test_what_says_which_run_it_is_is_never_misread(damage, name, here, half, capsys):
    DAMAGES[damage](half / name)
    ended = here("--run-dir", half, "--steps", "4", *EVERY)
    assert ended.code == 2 and ended.errors.count("\n") == 1, ended
    assert name in ended.errors
    if (name, damage) != ("run.json", "lost"):
        with pytest.raises(RunError, match=name):
            Run.open(half)
        return
    assert f"--init {half} and another --run-dir" in ended.errors
    assert Run.open(half).step == 2  # a run that keeps all its weights can still be looked at
    assert capsys.readouterr().err.startswith(f"warning: {half / 'run.json'} is gone; nothing tells")


def test_a_folder_of_another_format_is_refused_and_one_of_before_is_not(here, half):
    said = json.loads((half / "run.json").read_text())
    assert said["format"] == FORMAT
    (half / "run.json").write_text(json.dumps(said | {"format": FORMAT + 1}))
    with pytest.raises(RunError, match=f"of format {FORMAT + 1}, and this version knows format {FORMAT}"):
        Run.open(half)
    ended = here("--run-dir", half, "--steps", "4", *EVERY)
    assert ended.code == 2 and "of format" in ended.errors
    digest = None
    for changed in (said, {"experiment": said["experiment"], "init": None}):
        if "format" in changed:
            (half / "run.json").write_text(json.dumps(changed))
            digest = state_digest(Run.open(half).params)
            continue
        (half / "run.json").write_text(json.dumps(changed))
        assert state_digest(Run.open(half).params) == digest
        assert here("--run-dir", half, "--steps", "4", *EVERY).code == 0
        assert "format" not in json.loads((half / "run.json").read_text())


@pytest.mark.parametrize("damage", ["changed", pytest.param("lost", marks=pytest.mark.slow)])
def test_lines_that_are_gone_are_said(damage, here, half):
    DAMAGES[damage](half / "metrics.jsonl")
    ended = here("--run-dir", half, "--steps", "4", *EVERY)
    assert ended.code == 0 and "does not hold the lines that checkpoint 2 covers" in ended.output, ended
    assert [line["damaged"] for line in read_metrics(half) if line.get("event") == "resume"] == ["metrics.jsonl"]


def test_another_closing_score_than_the_run_ended_with_is_said(here, half):
    path = half / "metrics.jsonl"
    *_, closing, done = path.read_text().splitlines(keepends=True)
    assert "unigram_entropy" in closing and '"done"' in done
    path.write_text(path.read_text().replace(closing, re.sub(r'("valid_loss": \d)', r"\g<1>0", closing)))
    ended = here("--run-dir", half, "--steps", "4", *EVERY)
    assert ended.code == 0 and "does not hold the lines that the run ended with" in ended.output, ended


@pytest.mark.slow
def test_lines_that_decide_are_missed(here, tmp_path):
    words = ("--run-dir", tmp_path / "run", *EVERY, "--selection.metric", "valid_loss")
    assert here(*words, "--steps", "2").code == 0
    flip(tmp_path / "run" / "metrics.jsonl")
    ended = here(*words, "--steps", "4")
    assert ended.code == 2 and "selection.metric=valid_loss chooses by them; restore it" in ended.errors, ended


def test_a_mark_finds_what_it_marked(tmp_path):
    path = tmp_path / "lines"
    file = LineFile(path)
    file.append({"step": 1})
    file.write_out()
    mark = file.mark()
    file.append({"step": 2})
    file.close()
    assert is_marked(path, mark)
    again = LineFile(path)
    assert again.mark()["bytes"] == path.stat().st_size and is_marked(path, again.mark())
    again.close()
    flip(path, -2)
    assert is_marked(path, mark) and not is_marked(path, again.mark())
    flip(path, 3)
    assert not is_marked(path, mark) and not is_marked(tmp_path / "none", mark)


def test_checkpoints_without_a_config_are_not_begun_again(here, half):
    for name in ("config.json", "metrics.jsonl", "scores.json", "samples.json", "report.html", "environment.json"):
        (half / name).unlink()
    ended = here("--run-dir", half, "--steps", "4", *EVERY)
    assert ended.code == 2 and "config.json is gone" in ended.errors


def test_weights_of_a_run_that_has_diverged_are_named(half, capsys, monkeypatch):
    """The last good checkpoint is used instead of newer ones, or none; only --step opens another, and none is the result."""
    monkeypatch.setattr(
        "train.checkpoint.step_written", lambda folder: folder.name
    )  # the copy passes for a checkpoint of step 4
    shutil.copytree(half / "checkpoints" / "2", half / "checkpoints" / "4")
    assert Run.open(half).step == 4 and place_of(Run.open(half)).name == "scores.json"

    def diverged(good):
        with (half / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"event": "diverged", "step": 5, "good": good}) + "\n")

    diverged(2)
    assert capsys.readouterr().err == ""
    run = Run.open(half)
    assert (run.step, place_of(run).name) == (2, "scores-step-2.json")
    said = capsys.readouterr().err
    assert said == f"warning: {half}: checkpoint 4 was written as the run diverged; using step 2 instead\n"
    with pytest.raises(RunError, match="checkpoint 4 was written as the run diverged; --step 2 takes the one before"):
        Run.open(half, strict=True)
    assert place_of(Run.open(half, 4)).name == "scores-step-4.json"
    assert "written as the run diverged; the last good one is that of step 2" in capsys.readouterr().err
    diverged(0)
    with pytest.raises(RunError, match="has diverged, and no checkpoint of it is good"):
        Run.open(half)
    assert Run.open(half, 4, strict=True).step == 4
    flip(max((half / "checkpoints" / "2").rglob("d/*"), key=lambda path: path.stat().st_size))
    diverged(2)
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        Run.open(half)


LOST = {
    "gone": ("is gone", lambda path: path.unlink()),
    "cut": ("is damaged", lambda path: path.write_bytes(path.read_bytes()[:9])),
    "a list": ("is damaged", lambda path: path.write_text("[1]")),
    "a folder": ("is damaged", folder_of),
    "a link to nothing": ("is damaged", lambda path: (path.unlink(), path.symlink_to("nothing"))),
    "another": ("does not hold the closing scores", lambda path: path.write_text('{"valid_loss": 1.0}')),
    "no number": (
        "does not hold the closing scores",
        lambda path: path.write_text('{"valid_loss": "1", "held_out_targets": 1}'),
    ),
}


@pytest.mark.parametrize("damage", LOST)
def test_results_that_are_lost_are_found(damage, half):
    folder, experiment = RunFolder(half), RunFolder(half).experiment()
    assert is_finished(folder, experiment) and lost_results(folder, experiment) == {}
    said, make = LOST[damage]
    make(half / "scores.json")
    assert lost_results(folder, experiment) == {"scores.json": said}
    (half / "samples.json").unlink()
    assert lost_results(folder, experiment) == {"scores.json": said, "samples.json": "is gone"}


def test_lost_results_are_made_again(here, half):
    before = {name: (half / name).read_bytes() for name in ("scores.json", "samples.json")}
    folder_of(half / "scores.json")
    (half / "scores.json" / "mine").touch()
    (half / "samples.json").unlink()
    ended = here("--run-dir", half, "--steps", "2", *EVERY)
    assert ended.code == 0 and "scores.json is damaged; the run is finished, and is scored again; what" in ended.output
    assert {name: (half / name).read_bytes() for name in before} == before and (
        half / "damaged-scores.json/mine"
    ).exists()
    assert "finished before" in here("--run-dir", half, "--steps", "2", *EVERY).output


def test_opening_a_run_runs_no_code_of_it(half):
    """Whole commands: tests/train/test_whose_code.py."""
    for place in [half, *(path for path in half.rglob("*") if path.is_dir())]:
        for name in ("model", "tokenizer", "config", "experiment", "sitecustomize"):
            (place / f"{name}.py").write_text(f"from pathlib import Path\nPath({str(half / 'mark')!r}).touch()\n")
    assert Run.open(half).held_out is not None and not (half / "mark").exists()
