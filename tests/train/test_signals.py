"""Ctrl-C and SIGTERM end a command at once where there is nothing to save, whatever its main thread is doing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from train import signals

ROOT = Path(__file__).parents[2]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 75}

PROGRAM = """
import gc, hashlib, os, sys, time
from train.command import start
from train.signals import Stop, released

def in_a_collection():  # what is raised in a callback of the collector is dropped
    def busy(phase, info):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            pass
    gc.callbacks.append(busy)
    print("ready", flush=True)
    gc.collect()

def in_a_library():  # a call of minutes, in which no Python handler runs
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def before_a_stalled_reader():
    print("ready", flush=True)
    while True:
        sys.stdout.write("more " * 10_000)

def with_work_to_save():
    print("ready", flush=True)
    with Stop(print) as stop:
        while stop.requested is None:
            time.sleep(0.01)
        print("saved")
        time.sleep(float(os.environ["SAVING"]))
    return stop.requested

def with_something_to_release():
    with released(lambda: os.rmdir(os.environ["FOLDER"])):
        print("ready", flush=True)
        time.sleep(20)

def done():
    import atexit
    atexit.register(os.abort)  # what libraries do at the interpreter's end cannot change how a command ends
    print("ready")
    return 3

start(globals()[sys.argv[1]])
"""


@pytest.fixture
def told(tmp_path):
    """Sends signals to a program that has said that it is ready; gives its exit code, its output and the seconds it took."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def tell(how: str, *numbers: int, saving: float = 0.0, read: bool = True, **environment: str):
        command = [sys.executable, tmp_path / "program.py", how]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "SAVING": str(saving)} | environment
        with subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) as process:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            begin = time.monotonic()
            for number in numbers:
                time.sleep(0.3)
                process.send_signal(number)
            code = process.wait(20) if not read else None
            out, err = process.communicate(timeout=20)
        return process.returncode if code is None else code, out, err, time.monotonic() - begin

    return tell


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("how", ["in_a_collection", "in_a_library"])
def test_a_signal_ends_a_command_wherever_it_is(told, how, number):
    code, out, err, seconds = told(how, number)
    assert (code, out, err) == (CODES[number], "", signals.STOPPED + "\n")
    assert seconds < 5


def test_a_reader_that_has_stalled_does_not_hold_it_up(told):
    code, _, err, seconds = told("before_a_stalled_reader", signal.SIGTERM, read=False)
    assert (code, err) == (75, signals.STOPPED + "\n") and seconds < 8


def test_work_is_saved_first(told):
    for number in CODES:
        code, out, err, _ = told("with_work_to_save", number)
        assert code == CODES[number] and err == "" and set(out.splitlines()) >= {"saved"} and "stopping" in out


def test_a_second_interrupt_does_not_wait(told):
    code, _, err, seconds = told("with_work_to_save", signal.SIGINT, signal.SIGINT, saving=20)
    assert code == 130 and "stopped at once" in err and seconds < 5


def test_a_second_sigterm_does_wait(told):
    assert told("with_work_to_save", signal.SIGTERM, signal.SIGTERM, saving=1)[0] == 75


def test_what_would_be_left_behind_is_released(told, tmp_path):
    folder = tmp_path / "half"
    folder.mkdir()
    assert told("with_something_to_release", signal.SIGTERM, FOLDER=str(folder))[0] == 75
    assert not folder.exists()


def test_the_end_of_a_command_cannot_fail(told):
    assert told("done")[:3] == (3, "", "")


def test_outside_of_a_command_a_stop_handles_signals_itself():
    before = signal.getsignal(signal.SIGTERM)
    with signals.Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested == 75
    assert signal.getsignal(signal.SIGTERM) is before


COMPILING = pytest.param(signal.SIGINT, "compiling", marks=pytest.mark.slow)


@pytest.mark.parametrize(("number", "word"), [(signal.SIGTERM, "preparing"), COMPILING])
def test_training_stops_before_its_first_step(child, tiny_experiment, tmp_path, number, word):
    running = child("--exp", tiny_experiment, "--run-dir", tmp_path, "--workers", "0").until(word)
    ended = running.signal(number).wait()
    assert (ended.code, ended.errors) == (CODES[number], signals.STOPPED + "\n")
