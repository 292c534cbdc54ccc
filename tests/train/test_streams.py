"""Readers that go away, disks that are full and encodings without the letter are no tracebacks."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from train.lines import replace_text

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from train.command import start
from train.streams import tell

def accents():
    print("caf\\u00e9 \\udcff")
    print("caf\\u00e9", file=sys.stderr)
    return 0

def much():
    for _ in range(100_000):
        print("line")
    return 0

def argparse():  # which drops what a write raises
    import argparse
    argparse.ArgumentParser(description="word " * 5_000).parse_args(["--help"])

def goes_on():
    for _ in range(10_000):
        tell("line")
    return 7

def steering():
    from rich.text import Text
    from train.console import Terminal
    print("a\\x1b[2Jb\\u202ec")
    Terminal(sys.stdout).say("d\\x1b[2Je")
    Terminal(sys.stdout)._console.print(Text("f", style="bold"))
    return 0

start(globals()[sys.argv[1]])
"""


@pytest.fixture
def run(tmp_path):
    """Runs a part of the program above in a shell line, as {program}; gives the finished process."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def line(text: str, how: str = "", **environment: str) -> subprocess.CompletedProcess:
        text = text.replace("{program}", f"{sys.executable} {tmp_path / 'program.py'} {how}")
        text = text.replace("{python}", sys.executable)
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
        return subprocess.run(["bash", "-c", text], env=environment, cwd=ROOT, capture_output=True, text=True)

    return line


def test_letters_that_the_encoding_has_not_are_escaped(run):
    ended = run("{program}", "accents", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "caf\\xe9 \\udcff\n", "caf\\xe9\n")


def test_nothing_from_a_file_steers_a_terminal_but_the_display_does(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    mine, its = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "NO_COLOR": ""}
    command = [sys.executable, str(tmp_path / "program.py"), "steering"]
    assert subprocess.run(command, env=environment, stdout=its, stderr=subprocess.PIPE).stderr == b""
    said = os.read(mine, 10_000).decode()
    assert said.splitlines() == ["a\\x1b[2Jb\\u202ec", "d\\x1b[2Je", "\x1b[1mf\x1b[0m"]


def test_a_reader_that_has_gone_is_no_error(run):
    ended = run("{program} | head -1; exit ${PIPESTATUS[0]}", "much")
    assert (ended.returncode, ended.stdout, ended.stderr) == (141, "line\n", "")


@pytest.mark.parametrize("words", ["--list", "--help"])
def test_lists_are_cut_quietly(run, words):
    ended = run("{python} -m train.pretrain " + words + " | true; exit ${PIPESTATUS[0]}")
    assert ended.returncode in (0, 141) and ended.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("how", ["much", "argparse"])
def test_a_full_standard_output_is_named(run, how):
    ended = run("{program} > /dev/full", how)
    assert ended.returncode == 1
    assert (
        ended.stderr.startswith("error: cannot write standard output: No space left") and ended.stderr.count("\n") == 1
    )


def test_training_goes_on_without_its_display(run):
    for text in ("{program} | true; exit ${PIPESTATUS[0]}", "{program} > /dev/full"):
        ended = run(text, "goes_on")
        assert ended.returncode == 7
        assert ended.stderr.startswith("standard output cannot be written") and ended.stderr.count("\n") == 1


def test_a_full_disk_says_which_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    (tmp_path / "scores.json").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as told:
        replace_text(tmp_path / "scores.json", "new")
    assert told.value.filename == str(tmp_path / "scores.json")
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]
    assert (tmp_path / "scores.json").read_text() == "old"
