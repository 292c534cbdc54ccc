"""The display of a run: readable everywhere, cheap, and gone without a trace when the run ends in any way."""

import doctest
import importlib
import io
import re
import statistics
import sys
import threading
import time
import types

import numpy as np
import pytest

from train.console import Console, Notebook, Plain, Silent, Terminal, choose_view, live_rows
from train.progress import Progress
from train.tracking import Tracker

SCALARS = {
    "loss": np.float32(6.25),
    "masked_accuracy": 0.125,
    "learning_rate": 5e-4,
    "grad_norm": 1.5,
    "tokens_per_second": 5432.0,
    "skips_in_a_row": 0.0,
}


class Tty(io.StringIO):
    """A terminal that remembers what was sent to it."""

    encoding = "utf-8"

    def isatty(self):
        return True


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def tty(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    return Tty()


@pytest.mark.parametrize(
    "name",
    [
        "train.progress",
        "train.lines",
        "train.tracking",
        "train.charts",
        "train.record",
        "train.report",
        "train.report_sections",
    ],
)
def test_examples_in_the_docstrings_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_redirected_output_is_plain_lines_now_and_then():
    stream, clock = io.StringIO(), Clock()
    with Console.open(100, title="bert_tiny", stream=stream, clock=clock) as console:
        console.status("compiling")
        for step in range(1, 101):
            clock.now += 1.0
            console.update(step, SCALARS)
        console.evaluation(100, {"valid_loss": 6.5, "context_gain": 0.1})
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue() and stream.getvalue().isascii()
    assert lines[0] == "step   0/100  compiling"
    assert lines[1].startswith(
        "step   1/100  loss 6.2500  masked accuracy 12.5%  learning rate 5.00e-04  grad norm 1.5000"
    )
    assert [int(line.split("/")[0].split()[1]) for line in lines[1:-2]] == list(range(1, 100, 5))
    assert "ETA 0:49" in lines[11], lines[11]
    assert lines[-2] == "step 100  valid loss 6.5000  context gain +0.100"
    assert lines[-1].startswith("step 100/100") and "valid loss 6.5000 at 100" in lines[-1]


def test_the_pace_leaves_out_what_came_before_the_first_step():
    clock = Clock()
    progress = Progress("", 10, 0, 0, clock, clock())
    clock.now += 60  # compiling
    progress.advance(1, SCALARS)
    assert progress.remaining() is None
    clock.now += 2
    progress.advance(2, SCALARS)
    assert progress.remaining() == pytest.approx(16.0)


def test_the_live_display_draws_rarely_shows_its_values_and_keeps_sentences(tty):
    clock = Clock()
    with Console.open(1000, title="bert_tiny", stream=tty, clock=clock) as console:
        console.say("a sentence")
        for step in range(1, 101):
            clock.now += 0.01
            console.update(step, SCALARS)
        console.evaluation(100, {"valid_loss": 6.5})
    sent = tty.getvalue()
    assert 4 <= sent.count("grad norm") <= 8, "one second of steps is drawn about four times"
    for text in ("a sentence", "bert_tiny", "100/1,000", "6.2500", "12.5%", "5,432", "valid loss"):
        assert text in sent, text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_however_it_ends_the_terminal_is_as_it_was(tty, monkeypatch, error):
    monkeypatch.setattr(sys, "stdout", tty)
    threads = threading.active_count()
    with pytest.raises(error), Console.open(10, stream=tty) as console:
        console.update(1, SCALARS)
        print("from elsewhere")
        raise error
    assert sys.stdout is tty and threading.active_count() == threads
    hidden, shown = tty.getvalue().rfind("\x1b[?25l"), tty.getvalue().rfind("\x1b[?25h")
    assert shown > hidden and "from elsewhere" in tty.getvalue()
    console.close()
    console.say("a closing line")
    assert tty.getvalue().rstrip().endswith("a closing line")


def test_the_cursor_is_visible_while_the_display_is_up(tty):
    console = Console.open(10, stream=tty)
    console.update(1, SCALARS)
    assert tty.getvalue().rfind("\x1b[?25h") > tty.getvalue().rfind("\x1b[?25l"), "nothing to clean up after a kill"
    console.close()


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_rows_fit_the_terminal(width):
    progress = Progress("a_rather_long_experiment_name", 1_000_000, 0, 0, time.monotonic, time.monotonic())
    for step in range(1, 5000):
        progress.advance(step, SCALARS)
    progress.scores = {"valid_loss": 6.5, "context_gain": 0.1}
    rows = live_rows(progress, width)
    assert all(row.cell_len <= width or row.no_wrap for row in rows)
    if width >= 40:
        assert all(row.cell_len <= width + 3 for row in rows[1:])


class Pipe(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def test_a_broken_stream_silences_the_display_and_no_more():
    with Console.open(10, stream=Pipe()) as console:
        console.say("nobody hears this")
        for step in range(1, 11):
            console.update(step, SCALARS)
        console.evaluation(10, {"valid_loss": 1.0})


def test_a_signal_in_the_middle_of_a_drawing_speaks_after_it(tty):
    console = Console.open(10, stream=tty)
    draw = console._view.draw

    def interrupted(progress):
        console.say("stopping")
        assert "stopping" not in tty.getvalue()
        draw(progress)

    console._view.draw = interrupted
    console.update(1, SCALARS)
    assert "stopping" in tty.getvalue()
    console._view.draw = draw
    console.close()


def test_the_view_fits_the_place(tty, monkeypatch):
    assert isinstance(choose_view(tty), Terminal)
    assert isinstance(choose_view(io.StringIO()), Plain)
    tty.encoding = "ascii"
    assert isinstance(choose_view(tty), Plain)
    tty.encoding = "utf-8"
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose_view(tty), Plain)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert isinstance(choose_view(tty), Plain), "the shell of a notebook cannot move its cursor up"
    assert isinstance(Console.open(10, stream=tty, enabled=False)._view, Silent)


def test_a_notebook_output_is_rewritten_in_place(monkeypatch):
    shown = []

    class Handle:
        def update(self, content, raw):
            shown.append(content["text/plain"])

    def display(content, raw, display_id):
        shown.append(("first", content["text/plain"]))
        return Handle()

    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    stream, clock = io.StringIO(), Clock()
    monkeypatch.setattr(sys, "stdout", stream)
    with Console.open(4, clock=clock) as console:
        assert isinstance(console._view, Notebook)
        for step in range(1, 5):
            clock.now += 2
            console.update(step, SCALARS)
        console.say("a sentence")
    assert shown[0][0] == "first" and len(shown) == 4 and shown[-1].startswith("[####################]")
    assert stream.getvalue() == "a sentence\n"


def test_words_that_the_stream_cannot_write_are_replaced():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console.open(1, stream=stream).say("größer")
    assert stream.buffer.getvalue() == b"gr??er\n"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan"), None])
def test_values_that_are_not_finite_are_shown(tty, value):
    for stream in (tty, io.StringIO()):
        with Console.open(3, stream=stream) as console:
            console.update(1, SCALARS | {"loss": value if value is not None else float("nan"), "grad_norm": value})
        assert re.search("nan|inf", stream.getvalue())


def test_record_and_display_cost_a_step_far_less_than_it_may(tmp_path, tty):
    costs = []
    with Console.open(2000, stream=tty) as console, Tracker.open(tmp_path) as tracker:
        for step in range(1, 1001):
            begin = time.perf_counter()
            tracker.step(step, SCALARS)
            console.update(step, SCALARS)
            costs.append(time.perf_counter() - begin)
    assert statistics.median(costs) < 0.3e-3, f"{1e3 * statistics.median(costs):.3f} ms"
