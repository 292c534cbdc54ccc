"""Whose code runs: that of the project, of `--exp=FILE.py`, and nothing else."""

import os
import subprocess
import sys

import pytest

MARK = "from pathlib import Path\nPath({!r}).write_text('ran')\n"
NAMES = (
    "data",
    "model",
    "train",
    "kernels",
    "experiments",
    "experiment",
    "config",
    "conftest",
    "sitecustomize",
    "tokenizer",
)


def command(folder, *words):
    """A command given in a folder, as a user without PYTHONPATH or -P gives it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("name", ["data", pytest.param("experiments", marks=pytest.mark.slow)])
def test_a_file_that_hides_a_package_of_ours_is_one_line_and_is_not_run(tmp_path, name):
    (tmp_path / f"{name}.py").write_text(MARK.format(str(tmp_path / "mark")))
    ended = command(tmp_path, "-m", "train.pretrain", "--list")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1, ended.stderr
    assert f"{tmp_path / name}.py takes the place" in ended.stderr
    assert not (tmp_path / "mark").exists()


def test_the_remedy_works(tmp_path):
    (tmp_path / "data.py").write_text(MARK.format(str(tmp_path / "mark")))
    ended = command(tmp_path, "-P", "-m", "train.pretrain", "--list")
    assert ended.returncode == 0 and "bert_tiny" in ended.stdout, ended.stderr
    assert not (tmp_path / "mark").exists()


def test_a_folder_of_data_hides_nothing(tmp_path):
    (tmp_path / "data").mkdir()
    assert command(tmp_path, "-m", "train.pretrain", "--list").returncode == 0


@pytest.fixture(scope="session")
def planted(private_cache, tiny_experiment, tmp_path_factory):
    """A whole run, with files of code by every name that might be imported from it, in each of its folders."""
    folder = tmp_path_factory.mktemp("planted")
    words = (
        "--exp",
        tiny_experiment,
        "--steps",
        "1",
        "--evaluate-rows",
        "8",
        "--workers",
        "0",
        "--run-dir",
        folder / "run",
    )
    ended = command(folder, "-m", "train.pretrain", *words)
    assert ended.returncode == 0, ended.stderr
    run = folder / "run"
    folders = [run, *(path for path in run.rglob("*") if path.is_dir())]
    assert {"tokenizer", "checkpoints", "state"} <= {path.name for path in folders}
    for place in folders:
        for name in NAMES:
            (place / f"{name}.py").write_text(MARK.format(str(folder / "mark")))
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("train.pretrain", "--run-dir", "again", "--steps", "1", "--workers", "0", "--exp", "RUN"),
        (
            "train.pretrain",
            "--run-dir",
            "RUN",
            "--steps",
            "2",
            "--evaluate-rows",
            "8",
            "--workers",
            "0",
            "--exp",
            "EXP",
        ),
        ("train.evaluate", "RUN"),
        ("train.export", "RUN", "--to", "new"),
        ("train.inspect", "RUN", "a text"),
        ("train.embed", "RUN", "--text", "a text"),
        ("train.generate", "RUN", "--prompt", "a [MASK]"),
    ],
    ids=lambda words: words[0],
)
def test_no_code_of_a_run_folder_runs(planted, words, tiny_experiment, tmp_path):
    """Each command gets to its end, and so past config, tokenizer, checkpoint and model."""
    given = (word.replace("RUN", str(planted)).replace("EXP", str(tiny_experiment)) for word in words)
    ended = command(tmp_path, "-m", *given)
    assert ended.returncode == 0, (ended.stdout, ended.stderr)
    assert not planted.with_name("mark").exists()


def test_exp_runs_the_file_that_it_names_and_none_beside_it(tmp_path):
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(MARK.format(str(tmp_path / name)))
    (tmp_path / "elsewhere").mkdir()
    ended = command(
        tmp_path / "elsewhere", "-m", "train.pretrain", f"--exp={tmp_path / 'experiment.py'}", "--print-config"
    )
    assert ended.returncode == 2 and "declares no experiment" in ended.stderr, ended.stderr
    assert [name for name in NAMES if (tmp_path / name).exists()] == ["experiment"]
