"""What training costs beside the step itself: the loop's own time, and the pipeline alone against the step.

Both use the real `bert_tiny`: its data, its compiled step, its record and its display (drawn into nowhere).
"""

import io
import statistics
import tempfile
import time
from pathlib import Path

import jax

from data.pipeline import TrainStream
from data.prepared import open_prepared
from train.checkpoint import Checkpoints
from train.compiling import compile_step
from train.config import Experiment
from train.console import Console
from train.evaluator import Evaluator
from train.loop import Loop
from train.registry import load
from train.sharding import MeshShape, batch_sharding, make_mesh, place_batch
from train.signals import Stop
from train.state import Built, build, init_state
from train.tracking import Tracker


class Workbench:
    """An experiment set up as a session sets it up, without a run folder."""

    def __init__(self, name: str):
        experiment: Experiment = load(name).experiment.for_platform(jax.default_backend())
        self.prepared = open_prepared(experiment.text_data)
        self.tokenizer = self.prepared.tokenizer
        self.experiment = experiment.with_vocabulary(self.tokenizer.vocab_size)
        self.built: Built = build(self.experiment, make_mesh(MeshShape()))
        self.evaluator = Evaluator(self.built, self.experiment, self.tokenizer, self.prepared.valid)
        with Console.open(0, stream=io.StringIO()) as console:
            self.step = compile_step(
                self.experiment, self.built, next(self.evaluator.batches("train", limit_rows=1)), console
            )

    def state(self):
        """A fresh state; steps donate it."""
        objective, model = self.experiment.objective, self.experiment.model
        return init_state(
            lambda rngs: objective.build(model, rngs), self.experiment.seed, self.built.optimizer, self.built.target
        )

    def stream(self, workers: int = 0) -> TrainStream:
        """The training batches from the beginning."""
        objective = self.experiment.text_objective
        return TrainStream(
            self.prepared.train,
            self.experiment.text_data,
            objective.packing(),
            objective.corrupt(self.tokenizer, self.experiment.data.row_length),
            seed=self.experiment.seed,
            workers=workers,
        )


def bench_loop(steps: int = 60) -> dict:
    """Milliseconds of an iteration that are neither the step nor waiting for it or for data: median, 90th percentile, most.

    Beside it, the tokens/s of the loop against those of the bare step on one batch, taken in turn.
    """
    bench = Workbench("bert_tiny")
    with tempfile.TemporaryDirectory() as folder, Stop() as stop, bench.stream() as stream:
        console = Console.open(steps, stream=io.StringIO())
        loop = Loop(
            step_function=bench.step,
            state=bench.state(),
            stream=stream,
            placing=batch_sharding(bench.built.mesh),
            evaluator=bench.evaluator,
            checkpoints=Checkpoints(Path(folder)),
            tracker=Tracker.open(folder, say=lambda text: None),
            console=console,
            stop=stop,
            total_steps=steps,
            evaluate_every=steps + 1,
            checkpoint_every=steps + 1,
            max_skips=1,
        )
        bare = seconds_of_bare_steps(bench, steps // 2)
        begin = time.perf_counter()
        loop.run()
        looped = (time.perf_counter() - begin) / steps
        bare = (bare + seconds_of_bare_steps(bench, steps // 2)) / 2
        loop.checkpoints.close()
        loop.tracker.close()
        console.close()
    own = sorted(1e3 * seconds for seconds in loop.own_seconds)
    return {
        "loop_own_ms_median": round(statistics.median(own), 3),
        "loop_own_ms_p90": round(own[int(0.9 * len(own))], 3),
        "loop_own_ms_max": round(own[-1], 3),
        "loop_over_bare_step": round(looped / bare, 3),
        "steps": steps,
    }


def bench_pipeline(batches: int = 200) -> dict:
    """Tokens/s of the pipeline alone, from prepared data to host batches, against those of the step; both of `bert_tiny`."""
    bench = Workbench("bert_tiny")
    data = bench.experiment.data
    tokens = data.batch_size * data.row_length
    found = {"step_tokens_per_second": tokens / seconds_of_bare_steps(bench, 20)}
    for workers in (0, 1, 2):
        with bench.stream(workers) as stream:
            for _ in range(20):  # starts, and what was fetched ahead meanwhile
                next(stream)
            begin = time.perf_counter()
            for _ in range(batches):
                next(stream)
            found[f"pipeline_tokens_per_second_{workers}_workers"] = batches * tokens / (time.perf_counter() - begin)
    ratio = found["pipeline_tokens_per_second_0_workers"] / found["step_tokens_per_second"]
    return {name: round(value) for name, value in found.items()} | {"pipeline_over_step": round(ratio, 1)}


def seconds_of_bare_steps(bench: Workbench, steps: int) -> float:
    """Seconds a step of the compiled function takes on one batch, over and over, without a loop around it."""
    state = bench.state()
    batch = place_batch(next(bench.evaluator.batches("train", limit_rows=1)), batch_sharding(bench.built.mesh))
    state, _ = bench.step(state, batch)
    jax.block_until_ready(state)
    begin = time.perf_counter()
    for _ in range(steps):
        state, scalars = bench.step(state, batch)
        jax.block_until_ready(scalars)
    return (time.perf_counter() - begin) / steps
