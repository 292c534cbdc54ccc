"""The one training loop: batches in, steps out, and everything that happens between two steps.

The host never asks for a value of the step that is running. Two steps are in flight at most: before a third is sent off, the
first is waited for and its scalars are written down, so a line holds that step's own values and the devices never idle.
"""

import math
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from data.batch import Batch
from data.pipeline import TrainStream
from train.checkpoint import Checkpoints, fault_point
from train.console import Console
from train.diverging import EVENT, Diverged, good_steps
from train.lines import read_metrics
from train.scorer import Scorer
from train.selection import Selection, Selector
from train.sharding import place_batch
from train.signals import Stop
from train.state import TrainState
from train.tracking import Tracker
from train.watching import Watch

IN_FLIGHT = 2


class Sent(NamedTuple):
    """A step on its way: its number, its scalars (still being computed) and what is known of its batch."""

    step: int
    scalars: dict[str, jax.Array]
    facts: dict[str, Any]
    batch_ids: np.ndarray


@dataclass
class Loop:
    """Drives a compiled step from `state` to `total_steps`. All its parts are made by train/session.py.

    Attributes:
        own_seconds: what each iteration cost the host itself: neither waiting for a step nor for data.
    """

    step_function: Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]
    state: TrainState
    stream: TrainStream
    placing: jax.sharding.NamedSharding
    evaluator: Scorer
    checkpoints: Checkpoints
    tracker: Tracker
    console: Console
    stop: Stop
    total_steps: int
    evaluate_every: int
    checkpoint_every: int
    max_skips: int
    selector: Selector = field(default_factory=lambda: Selector(Selection()))
    profile: tuple[int, int] | None = None  # trace the steps first <= step < last
    after_evaluation: Callable[[], None] = lambda: None
    watch: Watch | None = None
    own_seconds: list[float] = field(default_factory=list)
    _sent: deque[Sent] = field(default_factory=deque)
    _scored: tuple[int, dict[str, float]] = (-1, {})
    _saved: int = -1
    _clock: float = 0.0
    _profiling: bool = False

    def run(self) -> int | None:
        """Train until done or asked to stop. Returns the exit code of a stop, or None when all steps are taken that are needed.

        Raises:
            Diverged: `max_skips` steps in a row had a loss or gradient that was not finite, or a held-out loss is not.
        """
        step = int(self.state.step)
        self._saved = step if step in self.checkpoints.steps() else -1
        self._clock = time.perf_counter()
        while step < self.total_steps and self.stop.requested is None and not self.selector.exhausted:
            try:
                batch = next(self.stream)
            except RuntimeError:
                if self.stop.requested is None:
                    raise
                break  # SIGTERM may find a worker that is only starting, and end it too
            begin = time.perf_counter()
            self._profile(step)
            placed = place_batch(batch, self.placing)
            sent_at = time.perf_counter()
            self.state, scalars = self.step_function(self.state, placed)
            dispatched = time.perf_counter()
            step += 1
            self._sent.append(Sent(step, scalars, batch_facts(batch), np.stack([batch.epochs, batch.example_ids])))
            waited = self._settle(IN_FLIGHT - 1)
            fault_point("step", step)
            self.own_seconds.append(time.perf_counter() - begin - waited - (dispatched - sent_at))
            if step == self.total_steps:
                break
            if self.watch is not None and step % self.watch.every == 0:
                self._look(step)
            # Also when a stop was asked for: a resumed run must not miss an evaluation that an undisturbed one has.
            if step % self.evaluate_every == 0 and self.evaluate(step):
                self.save(step)
            if self.selector.exhausted:
                break
            if self.checkpoints.due(step, self.checkpoint_every):
                self.save(step)
            self.checkpoints.check()
        self._settle(0)
        self._profile(None)
        if self.stop.requested is not None and step < self.total_steps and not self.selector.exhausted:
            self.save(step)
            self.checkpoints.wait()
            return self.stop.requested
        return None

    def evaluate(self, step: int) -> bool:
        """Score the parameters on the first held-out rows and write the line; whether they are the best by a named score."""
        self._settle(0)
        self.console.status("evaluating")
        scores = self.evaluator.quick(self.state.weights)
        self.record_scores(step, scores)
        self.check_finite(step, scores)
        self.keep_maps(step)
        self.after_evaluation()
        self._clock = time.perf_counter()
        return self.selector.see(step, scores)

    def keep_maps(self, step: int) -> None:
        """The attention of the parameters as they are, where it is watched."""
        if self.watch is not None:
            self.watch.keep_maps(step, self.state.weights)

    def record_scores(self, step: int, scores: dict[str, float]) -> None:
        """The line of an evaluation, in the record and on the console."""
        self._scored = (step, scores)
        self.tracker.evaluation(step, scores)
        self.console.evaluation(step, scores)

    def check_finite(self, step: int, scores: dict[str, float]) -> None:
        """Diverged where the held-out loss is not finite: no checkpoint of that step or a later one is good."""
        if not math.isfinite(scores.get("valid_loss", 0.0)):
            raise Diverged(
                f"the held-out loss after step {step} is not finite; last good state: {self._last_good(step)}; lower "
                "optimizer.schedule.peak (with muon optimizer.matrix_peak too), or mend optimizer.function or its eval_params "
                "if they are your own, and repeat the command to go on from there"
            )

    def save(self, step: int) -> None:
        """Begin a checkpoint of `step`; every line that it covers is on disk before it can commit."""
        self._settle(0)
        if step == self._saved:
            return
        self.console.status("saving")
        self.tracker.event("checkpoint", step=step)
        self.tracker.flush()
        scored_at, scores = self._scored
        rank = self.selector.rank(scores) if scored_at == step else None
        self.checkpoints.save(step, self.state, self.stream.position, rank, record=self.tracker.mark())
        self._saved = step
        self._clock = time.perf_counter()

    def _look(self, step: int) -> None:
        assert self.watch is not None
        self._settle(0)
        self.tracker.event("heads", step=step, **self.watch.look(self.state.weights))
        self._clock = time.perf_counter()

    def _settle(self, left: int) -> float:
        """Wait until at most `left` steps are in flight, writing down those that arrive. Returns the seconds waited."""
        waited = 0.0
        while len(self._sent) > left:
            sent = self._sent.popleft()
            begin = time.perf_counter()
            scalars = jax.device_get(
                sent.scalars
            )  # numpy float32: the record writes the shortest decimals that hold them
            now = time.perf_counter()
            waited += now - begin
            self._record(sent, scalars, now - self._clock)
            self._clock = now
        return waited

    def _record(self, sent: Sent, scalars: dict[str, np.float32], seconds: float) -> None:
        skipped, skips_in_a_row = bool(scalars["skipped"]), int(scalars["skips_in_a_row"])
        values = {name: value for name, value in scalars.items() if name not in ("skipped", "skips_in_a_row")}
        line = values | sent.facts | {"seconds": seconds, "tokens_per_second": sent.facts["tokens"] / seconds}
        self.tracker.step(sent.step, line)
        self.console.update(sent.step, line)
        if not skipped:
            return
        epochs, ids = sent.batch_ids.tolist()
        self.tracker.event("skip", step=sent.step, loss=scalars["loss"], grad_norm=scalars["grad_norm"], epochs=epochs,
                           example_ids=ids)  # fmt: skip
        self.console.say(
            f"step {sent.step}: loss {scalars['loss']}, gradient norm {scalars['grad_norm']}: not finite, so nothing was "
            f"updated; examples {ids[0]}..{ids[-1]} of epoch {epochs[0]} (all in metrics.jsonl)"
        )
        if skips_in_a_row >= self.max_skips:
            where = self._last_good(sent.step)
            raise Diverged(
                f"{skips_in_a_row} steps in a row were not finite, the last is step {sent.step} with examples "
                f"{ids[0]}..{ids[-1]} of epoch {epochs[0]} (all in metrics.jsonl); last good state: {where}; "
                "lower optimizer.schedule.peak (with muon optimizer.matrix_peak too), lengthen its warm-up, or raise "
                "guard.max_skips, and repeat the command to go on from there"
            )

    def _last_good(self, step: int) -> str:
        """Record which checkpoint before `step` is the last good one, and say it."""
        self.checkpoints.wait()
        self.tracker.flush()
        steps = self.checkpoints.steps()
        good = [one for one in good_steps(steps, read_metrics(self.checkpoints.folder.parent)) if one < step]
        self.tracker.event(EVENT, step=step, good=good[-1] if good else 0)
        bad = [one for one in steps if not good or one > good[-1]]
        but = f" (not {', '.join(map(str, bad))}, where the loss was far above its best)" if bad else ""
        if good:
            return f"checkpoint {self.checkpoints.folder / str(good[-1])}{but}"
        return f"the beginning{but}" if bad else "none was saved yet"

    def _profile(self, step: int | None) -> None:
        """Start or stop the profiler before the step after `step`; None: the loop has ended."""
        if self.profile is None:
            return
        first, last = self.profile
        folder = self.checkpoints.folder.parent / "profile"
        if step == first:
            self._profiling = True
            jax.profiler.start_trace(str(folder))
        elif self._profiling and (step == last or step is None):
            self._settle(0)
            jax.profiler.stop_trace()
            self._profiling = False
            self.console.say(f"profile of steps {first + 1}..{step or last} is in {folder}")


def batch_facts(batch: Batch) -> dict[str, Any]:
    """What a line says of the batch: tokens that are not padding, the epoch of its first row, and a hash of its ids."""
    ids = np.stack([batch.epochs, batch.example_ids]).astype(np.int64)
    return {
        "tokens": int(sum(np.count_nonzero(s) for s in (batch.segments, batch.source_segments) if s is not None)),
        "epoch": int(batch.epochs[0]),
        "batch_hash": f"{zlib.crc32(ids.tobytes()):08x}",
    }
