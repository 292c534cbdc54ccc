"""Bad input: one line that says what is wrong and what to do, exit code 2 (1 where work was under way), nothing lost."""

import contextlib
import fcntl
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from train import evaluate, prepare, pretrain
from train.command import run_command
from train.folder import RunFolder
from train.verify import compare_runs


@pytest.fixture
def told(monkeypatch, capsys):
    """Runs a command in this process: its exit code, and the one line of its error."""

    def run(main, *words) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        try:
            code = run_command(main)
        except SystemExit as end:
            code = end.code
        return code, the_error(capsys.readouterr().err)

    return run


@pytest.fixture
def attempt(told, tiny_experiment):
    """Tries to train, or to prepare."""

    def run(*words, main=pretrain.main, exp=tiny_experiment) -> tuple[int, str]:
        workers = ["--workers=0"] if main is pretrain.main else []
        return told(main, f"--exp={exp}", *workers, *words)

    return run


@pytest.fixture
def evaluated(told):
    """Tries to evaluate."""
    return lambda *words: told(evaluate.main, *words)


def the_error(said: str) -> str:
    """The error among what was said on standard error; there is exactly one, and it is one line."""
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and said.count("\n") == 1, said
    return lines[0].removeprefix("error: ")


@pytest.fixture
def finished(here, tmp_path_factory) -> Path:
    """A run of 8 steps that has ended, made once; the tests work on copies."""
    folder = tmp_path_factory.getbasetemp() / "finished-run"
    if not (folder / "scores.json").is_file():
        ended = here("--run-dir", folder, "--steps", "8", "--workers", "0")
        assert ended.code == 0, ended.errors
    return folder


@pytest.fixture
def run_dir(finished, tmp_path) -> Path:
    """A run folder to try things on."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, except the lock."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


WRONG_WORDS = {
    "unknown experiment": (["--exp=bert_smal"], "no experiment 'bert_smal'; did you mean bert_small?"),
    "experiment file that is not there": (["--exp=my/own.py"], "--exp my/own.py is not there"),
    "no experiment": (["--exp="], "which experiment?"),
    "unknown field": (["--optimizer.schedule.peek", "1e-3"], "did you mean"),
    "unknown option": (["--run-dri", "x"], "did you mean --run-dir?"),
    "wrong type": (["--steps", "many"], "steps"),
    "wrong type of a nested field": (["--model.hidden_size", "wide"], "hidden_size"),
    "fraction of a step": (["--steps", "10.5"], "steps"),
    "missing value": (["--steps"], "steps"),
    "value out of range": (["--optimizer.b2", "1.5"], "b2=1.5 must lie in [0, 1)"),
    "heads that do not divide the width": (["--model.attention.num_heads", "3"], "num_heads=3"),
    "unknown choice": (["--optimizer.name", "adamv"], "did you mean adam_w?"),
    "rows longer than the positions": (["--data.row_length", "4096"], "max_length"),
    "words that are no flag": (["speck"], "unexpected argument 'speck'"),
    "batch that its parts do not divide": (["--accumulate", "3"], "not a multiple of accumulate=3; use 1, 2, 4 or 8"),
    "batch that the devices do not divide": (["--data.batch_size", "12"], "not a multiple of 8 (8 devices"),
    "mesh that does not fit the devices": (["--mesh", "data=3"], "mesh data=3,fsdp=1,tensor=1 does not fit 8 devices"),
    "unknown axis of the mesh": (["--mesh", "date=2"], "'date=2' is not AXIS=SIZE"),
    "unknown tracker": (["--track", "wandbb"], "'wandbb' is not one of wandb, tensorboard"),
    "profile that ends before it begins": (["--profile", "15:10"], "not FIRST:LAST"),
    "unknown source": (["--data.source", "wikipedia"], "wikipedia"),
    "missing file": (["--data.source", "files:{tmp}/missing.txt"], "there is no file {tmp}/missing.txt"),
    "glob that matches nothing": (["--data.source", "files:{tmp}/*.nothing"], "no file matches"),
    "empty file": (["--data.source", "files:{tmp}/empty.txt"], "empty.txt holds no text"),
    "file that is not UTF-8": (["--data.source", "files:{tmp}/latin.txt"], "latin.txt is not UTF-8 at byte 4 (line 1)"),
    "folder instead of a file": (["--data.source", "files:{tmp}"], "is a folder, not a file"),
    "truncated gzip file": (["--data.source", "files:{tmp}/cut.txt.gz"], "not a whole gzip file"),
    "jsonl that is not JSON": (["--data.source", "files:{tmp}/bad.jsonl"], "bad.jsonl line 2 is not JSON"),
    "text of one document": (["--data.source", "files:{tmp}/one.txt"], "1 document"),
    "data set that TFDS does not know": (["--data.source", "tfds:wikipedya"], "did you mean"),
    "tokenizer file that is not there": (
        ["--data.tokenizer.name", "tokenizer_json", "--data.tokenizer.path", "{tmp}/none.json"],
        "none.json",
    ),
    "tokenizer file that is none": (
        ["--data.tokenizer.name", "tokenizer_json", "--data.tokenizer.path", "{tmp}/one.txt"],
        "one.txt",
    ),
    "weights of a folder that is no run": (["--init", "{tmp}"], "{tmp} is not a run folder"),
    "weights of a folder that is not there": (["--init", "{tmp}/none"], "{tmp}/none is not a run folder"),
}


@pytest.mark.parametrize(("words", "expected"), WRONG_WORDS.values(), ids=WRONG_WORDS)
def test_wrong_words(words, expected, attempt, tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes(b"blah\xe9 blah\n")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b" ".join(b"%x" % i for i in range(9_000)))[:-500])
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    (tmp_path / "one.txt").write_text("One document only.\n")
    words = [word.replace("{tmp}", str(tmp_path)) for word in words]
    code, error = attempt("--run-dir", tmp_path / "run", *words)
    assert code == 2 and expected.replace("{tmp}", str(tmp_path)) in error, error
    assert not (tmp_path / "run" / "config.json").exists()


def test_wrong_words_leave_room_for_right_ones(attempt, tmp_path):
    """A folder in which nothing was begun can still be used."""
    assert attempt("--run-dir", tmp_path / "run", "--init", tmp_path)[0] == 2
    code, error = attempt("--run-dir", tmp_path / "run", "--init", tmp_path / "none")
    assert code == 2 and "none is not a run folder" in error and "holds" not in error


def test_run_folder_that_is_a_file(attempt, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, error = attempt("--run-dir", tmp_path / "file")
    assert code == 2 and "is a file, not a folder" in error
    code, error = attempt("--run-dir", tmp_path / "file" / "run")
    assert code == 2 and "Not a directory" in error
    assert (tmp_path / "file").read_text() == "mine"


def test_run_folder_that_holds_something_else(attempt, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    code, error = attempt("--run-dir", tmp_path)
    assert code == 2 and "is not a run folder but holds 'thesis.tex'" in error
    assert contents(tmp_path) == {"thesis.tex": b"mine"}


@pytest.mark.slow
def test_what_a_killed_beginning_left_is_no_stranger(attempt, run_dir):
    """A kill before config.json was written leaves a folder that the same command begins again."""
    (run_dir / "config.json").unlink()
    for name in ("environment.json", "metrics.jsonl", "report.html", "scores.json", "samples.json"):
        (run_dir / name).unlink()
    shutil.rmtree(run_dir / "checkpoints")
    code, error = attempt("--run-dir", run_dir, "--init", run_dir / "none")
    assert code == 2 and "none is not a run folder" in error and "holds" not in error


@contextlib.contextmanager
def mounted(folder: Path, options: str):
    """A small file system of its own; skips the test, and says so, where none may be mounted."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs may be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_unwritable_run_folder(attempt, tmp_path):
    with mounted(tmp_path / "locked", "size=1m,ro") as locked:
        code, error = attempt("--run-dir", locked / "run")
    assert code == 2 and "cannot be written (Read-only file system); name another" in error


def test_unwritable_cache(attempt, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOUPE_CACHE", str(tmp_path / "file" / "cache"))
    code, error = attempt("--run-dir", tmp_path / "run", "--data.source", "synthetic:33")
    assert code == 2 and "set LOUPE_CACHE" in error


@pytest.mark.slow
def test_full_disk(child, tiny_experiment, tmp_path, finished):
    """Work was under way: exit code 1, the checkpoint before it is good, and with room again the run goes on."""
    with mounted(tmp_path / "small", "size=3m") as small:
        words = ["--exp", tiny_experiment, "--run-dir", small / "run", "--workers", "0"]
        assert child(*words, "--steps", "4").wait().code == 0
        room = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
        (small / "ballast").write_bytes(bytes(room - 150_000))
        full = child(*words, "--steps", "8").wait()
        assert full.code == 1, full.output + full.errors
        error = the_error(full.errors)
        assert "No space left" in error and "free some" in error, error
        (small / "ballast").unlink()
        ended = child(*words, "--steps", "8").wait()
        assert ended.code == 0 and "resuming after step 4" in ended.output, ended.output + ended.errors
        # The run of 4 steps scored all held-out rows where that of 8 only took a look.
        differences = [text for text in compare_runs(small / "run", finished) if "metrics" not in text]
        assert differences == []


@pytest.mark.slow
def test_no_room_to_begin(child, tiny_experiment, tmp_path):
    with mounted(tmp_path / "small", "size=64k") as small:
        ended = child("--exp", tiny_experiment, "--run-dir", small / "run", "--workers", "0").wait()
    assert ended.code == 1, ended.output + ended.errors
    assert "No space left" in the_error(ended.errors)


def test_data_set_that_is_not_prepared(attempt, tmp_path, monkeypatch, tiny_experiment):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    code, error = attempt("--data.source", "tfds:imdb_reviews", "--data.row_length=16", "--run-dir", tmp_path / "run")
    assert code == 2 and "not prepared" in error
    command = f"python -m train.prepare --exp={tiny_experiment} --data.source=tfds:imdb_reviews --data.row_length=16"
    assert error.endswith(f"run: {command}")


def test_preparing_what_is_not_there(attempt, tmp_path):
    code, error = attempt("--data.source", f"files:{tmp_path}/none.txt", main=prepare.main)
    assert code == 2 and "there is no file" in error


def test_run_of_another_experiment(attempt, run_dir):
    before = contents(run_dir)
    code, error = attempt("--run-dir", run_dir, exp="bert_tiny")
    assert code == 2 and "holds a run of speck, not of bert_tiny; name another folder" in error
    assert contents(run_dir) == before


def test_changed_fields_are_each_named(attempt, run_dir, finished):
    before = contents(run_dir)
    code, error = attempt(
        "--run-dir", run_dir, "--seed", "1", "--optimizer.schedule.peak", "0.5", "--model.num_layers", "2"
    )
    assert code == 2
    for change in (
        "seed: was 0, now 1",
        "optimizer.schedule.peak: was 0.01, now 0.5",
        "model.num_layers: was 1, now 2",
    ):
        assert change in error, error
    code, error = attempt("--run-dir", run_dir, "--steps", "20", "--optimizer.schedule.name", "warmup_linear")
    assert code == 2 and "steps: was 8, now 20 (the warmup_linear schedule is drawn over all steps)" in error
    code, error = attempt("--run-dir", run_dir, "--steps", "20", "--init", finished)
    assert code == 2 and "init: was None, now" in error
    assert contents(run_dir) == before


def test_changed_data(attempt, tmp_path, run_dir):
    """The text of a file may change while its name stays."""
    facts = json.loads((run_dir / "data.json").read_text())
    (run_dir / "data.json").write_text(json.dumps(facts | {"fingerprint": "0" * 32}))
    folder = RunFolder(run_dir)
    folder.write_begun(folder.begun() | {"files": folder.seal()})
    before = contents(run_dir)
    code, error = attempt("--run-dir", run_dir, "--steps", "12")
    assert code == 2 and "was trained on other data: the fingerprint of synthetic:80 was 000000000000, now" in error
    assert contents(run_dir) == before


def test_two_processes_on_one_folder(attempt, run_dir):
    before = contents(run_dir)
    with (run_dir / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, error = attempt("--run-dir", run_dir, "--steps", "12")
    assert code == 2 and "in use by another process" in error
    assert contents(run_dir) == before


@pytest.mark.slow
def test_two_real_processes_on_one_folder(child, attempt, tiny_experiment, tmp_path):
    words = ["--exp", tiny_experiment, "--run-dir", tmp_path / "run", "--workers", "0", "--steps", "8"]
    first = child(*words).until("into")
    code, error = attempt(*words[2:])
    assert code == 2 and "in use by another process" in error
    assert first.wait().code == 0, first.errors


@pytest.mark.parametrize("text", ["", "{", '"just a word"', "[]", "\x00\x00", '{"steps": 8}', '{"no": "field"}'])
def test_corrupted_config(text, attempt, run_dir):
    (run_dir / "config.json").write_text(text)
    before = contents(run_dir)
    code, error = attempt("--run-dir", run_dir, "--steps", "12")
    assert code == 2 and "config.json" in error, error
    assert contents(run_dir) == before


@pytest.mark.parametrize("text", ["", "[1]"])  # of data.json and scores.json, made again: tests/train/test_folder.py
def test_corrupted_small_files(text, attempt, run_dir):
    (run_dir / "run.json").write_text(text)
    before = contents(run_dir)
    code, error = attempt("--run-dir", run_dir, "--steps", "12")
    assert code == 2 and "run.json" in error, error
    assert contents(run_dir) == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_every_checkpoint_damaged(attempt, run_dir):
    """Nothing is begun anew over what may be all that is left of a long run."""
    for folder in (run_dir / "checkpoints").iterdir():
        cut(max((p for p in folder.rglob("*") if p.is_file()), key=lambda path: path.stat().st_size))
    before = contents(run_dir)
    code, error = attempt("--run-dir", run_dir, "--steps", "12")
    assert code == 1 and "no usable checkpoint" in error and "bytes instead of" in error
    assert contents(run_dir) == before


def test_damaged_tokenizer_or_held_out(evaluated, run_dir):
    for name in ("held_out.jsonl.gz", "tokenizer/tokenizer.json"):
        path = max(run_dir.glob(f"{name.partition('/')[0]}/*"), default=run_dir / name)
        cut(path)
        code, error = evaluated(run_dir)
        assert code == 2 and f"{path.name} has changed since it was written; restore it from a copy" in error


def test_weights_of_another_shape(attempt, finished, tmp_path):
    code, error = attempt("--run-dir", tmp_path / "run", "--init", finished, "--model.num_layers", "2")
    assert code == 2 and "other weights than this model" in error and "layers" in error
    assert not (tmp_path / "run" / "config.json").exists()


def test_weights_of_another_vocabulary(attempt, finished, tmp_path):
    code, error = attempt("--run-dir", tmp_path / "run", "--init", finished, "--data.tokenizer.name", "characters")
    assert code == 2 and "another vocabulary" in error
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "which run?"),
        (["{tmp}/none"], "{tmp}/none is not a run folder"),
        (["{tmp}"], "{tmp} is not a run folder"),
        (["{run}", "--steps", "3"], "--steps cannot be changed after training"),
        (["{run}", "--step", "5"], "checkpoint"),
        (["{run}", "--data.source", "files:{tmp}/none.txt"], "there is no file"),
        (
            ["{run}", "--data.source", "tfds:imdb_reviews"],
            "python -m train.prepare --exp={run} --data.source tfds:imdb_reviews",
        ),
    ],
)
def test_evaluating_what_cannot_be(words, expected, evaluated, run_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    before = contents(run_dir)
    code, error = evaluated(*(word.format(tmp=tmp_path, run=run_dir) for word in words))
    assert code in (1, 2) and expected.format(tmp=tmp_path, run=run_dir) in error, error
    assert contents(run_dir) == before


def test_an_experiment_file_with_a_mistake(attempt, tmp_path):
    for text, expected in [
        ("x = (", "SyntaxError"),
        ("import nothing_of_that_name", "line 1: ModuleNotFoundError"),
        ("experiment = 3", "declares no experiment"),
        ("", "declares no experiment"),
    ]:
        (tmp_path / "mine.py").write_text(text)
        code, error = attempt("--run-dir", tmp_path / "run", exp=tmp_path / "mine.py")
        assert code == 2 and expected in error, error


def test_eight_devices_are_what_these_tests_see():
    assert jax.device_count() == 8
