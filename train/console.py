"""What the user sees while a run goes on: a live display on a terminal, plain lines anywhere else.

The loop hands over every step; drawing happens a few times a second at most, in the caller's thread, so nothing keeps
the process alive and an exception leaves the terminal as it was. The cursor is never hidden: even after a kill there is
nothing to clean up.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, TextIO

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.text import Text

from train.progress import SCORES, Progress, duration, number, plain_line, sparkline
from train.streams import give_up, harmless, to_draw_on

LIVE_SECONDS = 0.25
NOTEBOOK_SECONDS = 1.0
PLAIN_SECONDS = 5.0
STYLES = {"loss": "bold cyan", "valid_loss": "bold magenta", "context_gain": "bold green", "skips": "bold red"}


class View(Protocol):
    """One way of showing; `draw` is called when the display is due, `say` for a sentence that stays."""

    seconds: float

    def draw(self, progress: Progress) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self, progress: Progress) -> None: ...


class Console:
    """The display of a run, made by `Console.open`; a context manager. A stream that breaks silences it, no more."""

    def __init__(self, view: View, progress: Progress, stream: TextIO | None = None):
        self._view = view
        self._stream = stream
        self._progress = progress
        self._due = float("-inf")
        self._drawing = threading.Lock()
        self._waiting: list[str] = []

    @classmethod
    def open(
        cls,
        total_steps: int,
        *,
        title: str = "",
        start_step: int = 0,
        enabled: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Choose the view for where we are: silent, live, notebook or plain.

        Args:
            enabled: False on every process but the first.
            stream: standard output by default.
        """
        stream = stream or sys.stdout  # which is None in a program without any console
        progress = Progress(title, total_steps, start_step, start_step, clock, clock())
        return cls(choose_view(stream) if enabled and stream is not None else Silent(), progress, stream)

    def expect(self, total_steps: int) -> None:
        """Another number of steps than the run was opened with."""
        self._progress.total = total_steps

    def update(self, step: int, scalars: Mapping[str, Any]) -> None:
        """The values of the newest step that is known (numbers on the host). Microseconds, unless a drawing is due."""
        self._progress.advance(step, scalars)
        if self._progress.clock() >= self._due:
            self._attempt(lambda: self._view.draw(self._progress))
            self._due = self._progress.clock() + self._view.seconds

    def evaluation(self, step: int, scores: Mapping[str, Any]) -> None:
        """Held-out scores: said in a line that stays, and kept in the display."""
        self._progress.scores, self._progress.scores_step = dict(scores), step
        parts = [f"{label} {number(name, scores[name])}" for name, label in SCORES.items() if name in scores]
        self.say("  ".join([f"step {step:,}", *parts]))

    def status(self, text: str) -> None:
        """What goes on while no step comes ("compiling the training step"); the next update ends it."""
        self._progress.status = text
        self._attempt(lambda: self._view.draw(self._progress))

    def say(self, text: str) -> None:
        """A sentence that stays. Any thread and a signal handler may call it: in the middle of a drawing it waits for its end."""
        self._waiting.append(text)
        self._attempt(lambda: None)

    def close(self) -> None:
        """Draw once more and leave the terminal as it was. Closing twice is harmless."""
        view = self._view
        self._attempt(lambda: view.close(self._progress), patience=1.0)
        self._view = Closed(view)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _attempt(self, action: Callable[[], None], patience: float = 0.0) -> None:
        if not self._drawing.acquire(timeout=patience):
            return
        try:
            action()
            while self._waiting:
                self._view.say(self._waiting[0])
                self._waiting.pop(0)
        except (OSError, ValueError) as error:  # a closed pipe or terminal: the run is worth more than its display
            self._view = Silent()
            if self._stream is sys.stdout and isinstance(error, OSError):
                give_up(error)
        except RuntimeError:  # a signal arrived while something else was writing to the stream: said a moment later
            pass
        finally:
            self._drawing.release()


class Silent:
    """Shows nothing: other processes, broken streams."""

    seconds = float("inf")

    def draw(self, progress: Progress) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self, progress: Progress) -> None: ...


class Closed(Silent):
    """After the end sentences are still said, for the closing line of a command, but nothing is drawn."""

    def __init__(self, view: View):
        self.say = view.say


class Plain:
    """A line now and then, for files, pipes and logs."""

    def __init__(self, stream: TextIO, seconds: float = PLAIN_SECONDS):
        self.seconds = seconds
        self._stream = stream
        self._shown: tuple[int, str] | None = None

    def draw(self, progress: Progress) -> None:
        if progress.status and progress.first is not None:
            return  # "evaluating" a hundred times is noise in a log; what comes of it is said
        self._shown = (progress.step, progress.status)
        self.say(plain_line(progress))

    def say(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, errors="replace").decode(encoding) + "\n")
        self._stream.flush()

    def close(self, progress: Progress) -> None:
        progress.status = ""
        if progress.first is not None and self._shown != (progress.step, ""):
            self.draw(progress)


class Notebook(Plain):
    """One output that is rewritten in place; sentences stay above or below it."""

    def __init__(self, stream: TextIO):
        super().__init__(stream, NOTEBOOK_SECONDS)
        self._handle: Any = None

    def draw(self, progress: Progress) -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports]  (this is a notebook)

        self._shown = (progress.step, progress.status)
        content = {"text/plain": plain_line(progress, bar=True)}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


class Terminal:
    """The live display: a bar, the values of the step in columns, the last held-out scores."""

    seconds = LIVE_SECONDS

    def __init__(self, stream: TextIO):
        self._console = RichConsole(file=to_draw_on(stream), highlight=False, emoji=False, markup=False)
        self._live: Live | None = None

    def draw(self, progress: Progress) -> None:
        self._live = live = self._live or self._begin()
        live.update(Group(*live_rows(progress, self._console.width)), refresh=True)

    def _begin(self) -> Live:
        # What others print must go above the display, but only where it would land on the same terminal.
        live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
            vertical_overflow="ellipsis",
        )
        live.start()
        self._console.show_cursor(True)
        return live

    def say(self, text: str) -> None:
        self._console.print(Text(harmless(text)))

    def close(self, progress: Progress) -> None:
        if self._live is not None:
            progress.status = ""
            try:
                self.draw(progress)
            finally:
                self._live.stop()
                self._live = None


def choose_view(stream: TextIO) -> View:
    """Live on a terminal that can move its cursor and speaks UTF-8; rewritten in place in a notebook; else plain."""
    if "ipykernel" in sys.modules and stream is sys.stdout:
        return Notebook(stream)
    # A shell command of a notebook sees a terminal, but one that cannot go up a line.
    simple = os.environ.get("TERM", "") in ("", "dumb") or "JPY_PARENT_PID" in os.environ
    unicode = (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
    return Terminal(stream) if stream.isatty() and unicode and not simple else Plain(stream)


def live_rows(progress: Progress, width: int) -> list[Text]:
    """The rows of the live display: the bar, then labels over values, in as many columns as fit."""
    columns = []
    for name, label, text in progress.values():
        value = Text(text, style=STYLES.get(name, "bold"))
        if name == "loss" and width >= 60:
            value.append(" " + f"{sparkline(progress.curve, 16):16}", style="cyan")
        columns.append((Text(label, style="dim"), value, max(len(label), value.cell_len, 8) + 3))
    rows, labels, values = [head_row(progress, width)], Text(), Text()
    for label, value, wide in columns:
        if labels.cell_len + wide > width and labels.cell_len:
            rows += [labels, values]
            labels, values = Text(), Text()
        label.pad_right(wide - label.cell_len)
        value.pad_right(wide - value.cell_len)
        labels.append_text(label)
        values.append_text(value)
    rows += [labels, values] if labels.cell_len else []
    for row in rows:
        row.no_wrap, row.overflow = True, "ellipsis"
    return rows


def head_row(progress: Progress, width: int) -> Text:
    """Name, bar, step, share and time left, or what goes on instead."""
    done = progress.step >= progress.total
    tail = Text(f"  {progress.step:,}/{progress.total:,}", style="bold")
    tail.append(f"  {progress.share():4.0%}", style="green" if done else "cyan")
    remaining = progress.remaining()
    if progress.status:
        tail.append(f"  {progress.status} ...", style="yellow")
    elif done or remaining is None:
        tail.append(f"  {duration(progress.clock() - progress.opened)}", style="dim")
    else:
        tail.append(f"  {duration(remaining)} left", style="dim")
    row = Text(f"{progress.title}  " if progress.title and width >= 60 else "", style="bold")
    room = max(min(width - row.cell_len - tail.cell_len - 1, 60), 0)
    filled = progress.share() * room
    whole = int(filled)
    row.append("━" * whole, style="green" if done else "cyan")
    if whole < room:
        row.append("╸" if filled - whole >= 0.5 else "━", style="cyan" if filled - whole >= 0.5 else "bright_black")
        row.append("━" * (room - whole - 1), style="bright_black")
    return row.append_text(tail)
