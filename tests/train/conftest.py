"""A tiny model, objective and batch that the tests of training share, and the command run as a process of its own."""

import contextlib
import dataclasses
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from data.batch import Batch
from model.families import bert
from train.objectives import MaskedLM
from train.optimizers import AdamW
from train.sharding import MeshShape, batch_sharding, make_mesh, place_batch, replicated
from train.state import TrainState, abstract_model, init_state, state_shapes
from train.step import StepOptions, make_step

VOCABULARY, ROW, PLACES, PAIRS = 256, 32, 5, 2


def tiny_model(dropout: float = 0.0):
    """A 2-layer encoder of width 32."""
    config = bert.config("tiny", vocab_size=VOCABULARY, max_length=ROW)
    attention = dataclasses.replace(config.attention, num_heads=2, dropout_rate=dropout)
    mlp = dataclasses.replace(config.mlp, intermediate_size=64)
    return dataclasses.replace(config, hidden_size=32, attention=attention, mlp=mlp, dropout_rate=dropout)


def random_batch(rows: int = 16, seed: int = 0) -> Batch:
    """Two segments and some padding a row, masked places and pairs with uneven weights."""
    rng = np.random.default_rng(seed)

    def integers(high: int, *shape: int) -> np.ndarray:
        return rng.integers(0, high, shape).astype(np.int32)

    lengths = rng.integers(8, ROW + 1, rows)
    places = np.arange(ROW)[None, :]
    half = lengths[:, None] // 2
    segments = np.where(places < half, 1, np.where(places < lengths[:, None], 2, 0)).astype(np.int32)
    positions = np.where(segments == 2, places - half, np.where(segments == 1, places, 0)).astype(np.int32)
    return Batch(
        tokens=integers(VOCABULARY, rows, ROW),
        positions=positions,
        segments=segments,
        example_ids=np.arange(rows, dtype=np.int32),
        epochs=np.zeros(rows, np.int32),
        labels={
            "masked_places": integers(8, rows, PLACES),
            "masked_targets": integers(VOCABULARY, rows, PLACES),
            "masked_weights": (rng.random((rows, PLACES)) < 0.7).astype(np.float32),
            "next_sentence_places": integers(8, rows, PAIRS),
            "next_sentence_targets": integers(2, rows, PAIRS),
            "next_sentence_weights": (rng.random((rows, PAIRS)) < 0.6).astype(np.float32),
        },
        token_types=integers(2, rows, ROW),
    )


@dataclass
class Training:
    """A step on a mesh, compiled when it is first taken, with the state it starts from."""

    mesh: jax.sharding.Mesh
    target: TrainState
    state: TrainState
    step: Callable[[], Any]

    def run(self, *batches: Batch) -> list[dict[str, float]]:
        """Take a step on each batch; returns the scalars of each."""
        seen = []
        for batch in batches:
            self.state, scalars = self.step()(self.state, place_batch(batch, batch_sharding(self.mesh)))
            seen.append({name: float(value) for name, value in scalars.items()})
        return seen


@pytest.fixture(scope="session")
def random_rows():
    """The factory of random batches."""
    return random_batch


@pytest.fixture(scope="session")
def training():
    """A factory: the step of a tiny model on a mesh ("" is one device), with what a test wants to vary."""

    @functools.cache
    def compiled(mesh: str, accumulate: int, dropout: float):
        devices = None if mesh else jax.devices()[:1]
        placed = make_mesh(MeshShape.parse(mesh), devices)
        config, objective, optimizer = tiny_model(dropout), MaskedLM(), AdamW()
        transform = optimizer.build(100)
        parts = abstract_model(lambda rngs: objective.build(config, rngs), 0)
        target = state_shapes(parts, transform, placed)
        options = StepOptions(seed=0, accumulate=accumulate)
        step = make_step(parts, objective, transform, optimizer.schedule.build(100), options)
        where = (jax.tree.map(lambda leaf: leaf.sharding, target), replicated(placed))

        @functools.cache
        def compiled_step():
            with jax.set_mesh(placed):
                batch = place_batch(random_batch(), batch_sharding(placed))
                return jax.jit(step, donate_argnums=0, out_shardings=where).lower(target, batch).compile()

        first = jax.device_get(init_state(lambda rngs: objective.build(config, rngs), 0, transform, target))

        def start():
            return jax.tree.map(lambda leaf, where: jax.device_put(np.array(leaf), where.sharding), first, target)

        return placed, target, start, compiled_step

    def make(mesh: str = "", accumulate: int = 1, dropout: float = 0.0) -> Training:
        placed, target, start, step = compiled(mesh, accumulate, dropout)
        return Training(placed, target, start(), step)

    return make


EXPERIMENT = '''"""A run of seconds. PAUSE in the environment is how long each of its steps is made to take at least."""

import dataclasses
import os
import time

import train.loop
from data.config import TextData
from data.sources import Synthetic
from data.tokenizers.choices import Bytes
from model.attention import MultiHead
from model.families import bert
from train.config import Experiment
from train.objectives import MaskedLM
from train.optimizers import AdamW
from train.schedules import WarmupInverseRoot

small = bert.config("tiny", vocab_size=261, max_length=32)
experiment = Experiment(
    data=TextData(source=Synthetic(80), tokenizer=Bytes(), row_length=32, batch_size=8, window=16),
    model=dataclasses.replace(
        small,
        hidden_size=32,
        num_layers=1,
        attention=MultiHead(num_heads=2, dropout_rate=0.1),
        mlp=dataclasses.replace(small.mlp, intermediate_size=64),
    ),
    objective=MaskedLM(next_sentence=True),
    optimizer=AdamW(schedule=WarmupInverseRoot(peak=1e-2, warmup_steps=4)),
    steps=16,
    evaluate_every=4,
    checkpoint_every=4,
)

if pause := float(os.environ.get("PAUSE", 0)):
    facts = train.loop.batch_facts
    train.loop.batch_facts = lambda batch: (time.sleep(pause), facts(batch))[1]
'''


@pytest.fixture(scope="session")
def tiny_experiment(tmp_path_factory) -> Path:
    """A file for `--exp` that declares a run of seconds: 16 steps, dropout, sentence pairs, a schedule without an end."""
    path = tmp_path_factory.mktemp("experiment") / "speck.py"
    path.write_text(EXPERIMENT)
    return path


@dataclass
class Ended:
    """How a command ended: its exit code, and what it said."""

    code: int | None
    output: str
    errors: str


@pytest.fixture
def here(monkeypatch, capsys, tiny_experiment, private_cache):
    """Runs `train.pretrain` with these words in this process, on one device: quicker than a child, and open to change."""
    import train.run
    import train.session
    from train import pretrain
    from train.command import run_command

    for module in (train.run, train.session):
        monkeypatch.setattr(module, "make_mesh", lambda shape: make_mesh(shape, jax.devices()[:1]))

    def run(*words: str | Path) -> Ended:
        given = ["--exp", tiny_experiment, "--workers", "0", *words]
        monkeypatch.setattr(sys, "argv", ["train.pretrain", *map(str, given)])
        code = run_command(pretrain.main)
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def interrupt(monkeypatch):
    """`with interrupt(5):` Ctrl-C comes at the fifth step that is taken inside."""
    import train.loop

    @contextlib.contextmanager
    def at(step: int):
        facts, seen = train.loop.batch_facts, []

        def cut(batch):
            seen.append(batch)
            if len(seen) == step:
                raise KeyboardInterrupt
            return facts(batch)

        with monkeypatch.context() as patched:
            patched.setattr(train.loop, "batch_facts", cut)
            yield

    return at


class Child:
    """`python -m MODULE WORDS` in a process group of its own; what it says goes to files that can be read meanwhile."""

    patience = 240  # seconds, on a busy machine

    def __init__(self, *words: str | Path, module: str = "train.pretrain", devices: int = 1, **environment: str):
        flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
        self._folder = tempfile.TemporaryDirectory()
        self._said = {name: Path(self._folder.name) / name for name in ("output", "errors")}
        with self._said["output"].open("w") as output, self._said["errors"].open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, words)],
                cwd=Path(__file__).parents[2],
                env=os.environ | {"XLA_FLAGS": flags} | environment,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        self.code: int | None = None
        self.output = self.errors = ""

    def wait(self) -> "Child":
        """Wait until it ends: `code` (negative for a signal), `output` and `errors` then hold what there was."""
        try:
            self.code = self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"not ended after {self.patience} s: {self.said('output')}") from None
        self.output, self.errors = self.said("output"), self.said("errors")
        self._folder.cleanup()
        return self

    def said(self, name: str = "output") -> str:
        """What a running process has said so far."""
        return self._said[name].read_text(errors="replace")

    def until(self, text: str) -> "Child":
        """Wait until it has said `text`."""
        end = time.monotonic() + self.patience
        while text not in self.said():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{text!r} was never said: {self.said()} {self.said('errors')}")
            time.sleep(0.02)
        return self

    def signal(self, number: int) -> "Child":
        """Send a signal to it and to all its workers, as a terminal does."""
        os.killpg(self.process.pid, number)
        return self


@pytest.fixture(scope="session")
def child(private_cache) -> type[Child]:
    """Starts a command as a process of its own: `child("--exp", path, "--run-dir", folder, LOUPE_FAULT="step:3").wait()`."""
    return Child
