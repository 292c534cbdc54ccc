"""Run folders with one thing damaged: opened, scored, exported, gone on with; nothing may be wrong without a word.

A run of seconds is trained; each try copies it, damages one file at random (a bit, the end, all of it, its name, its place), and
does one thing with it. Right is the result of the undamaged folder; or the same with the damage named; or a refusal in one line.
"""

import contextlib
import io
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

STEPS, HALF = 6, 4
LATEST = 60.0  # seconds of one try, on a busy machine
SPECK = '''"""A run of seconds."""

import dataclasses

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
    data=TextData(source=Synthetic(40), tokenizer=Bytes(), row_length=32, batch_size=4, window=16),
    model=dataclasses.replace(
        small,
        hidden_size=16,
        num_layers=1,
        attention=MultiHead(num_heads=2, dropout_rate=0.1),
        mlp=dataclasses.replace(small.mlp, intermediate_size=32),
    ),
    objective=MaskedLM(next_sentence=True),
    optimizer=AdamW(schedule=WarmupInverseRoot(peak=1e-2, warmup_steps=4)),
    steps=6,
    evaluate_every=2,
    checkpoint_every=2,
)
'''


@dataclass
class Try:
    """What one use of a folder came to: its exit code, what it printed, and its result as one word."""

    code: int | None
    said: str
    result: str
    seconds: float = 0.0
    crash: str = ""


def attack(tries: int = 200, seed: int = 0) -> int:
    """Run folders with one thing damaged at random, opened, scored, exported and gone on with."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="loupe-folders-") as name:
        root = Path(name)
        os.environ.setdefault("LOUPE_CACHE", str(root / "cache"))
        (root / "speck.py").write_text(SPECK)
        pool = worker()
        for folder, steps in (("half", HALF), ("whole", STEPS)):
            made = pool.submit(use, "resume", root / folder, root / "speck.py", steps).result()
            assert made.code == 0, made.said
        right = {}
        for kind in USES:
            folder = shutil.copytree(root / "half", root / f"right-{kind}")
            right[kind] = {pool.submit(use, kind, folder, root / "speck.py").result().result}
        before = shutil.copytree(
            root / "half", root / "before"
        )  # what is right where the newest checkpoint is damaged and named
        shutil.rmtree(before / "checkpoints" / str(HALF))
        for kind in ("open", "evaluate"):
            right[kind].add(pool.submit(use, kind, before, root / "speck.py").result().result)
        count, faults = Counter(), []
        for number in range(tries):
            kind = rng.choice(list(USES))
            folder = shutil.copytree(root / "half", root / "tried")
            damage, path = damaged(folder, rng)
            try:
                found = pool.submit(use, kind, folder, root / "speck.py").result()
            except BrokenProcessPool:
                found, pool = Try(None, "", "", crash="the process died"), worker()
            word, fault = judged(found, right[kind])
            count[kind, word] += 1
            if fault:
                faults.append(f"try {number}, {kind} with {damage} of {path}: {fault}")
                print(faults[-1], flush=True)
            shutil.rmtree(folder)
        pool.shutdown()
    print(f"\n{tries} damaged run folders, seed {seed}")
    for (kind, word), times in sorted(count.items()):
        print(f"{kind:>9}: {word:<24} {times:4d}")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


def worker() -> ProcessPoolExecutor:
    """A process that uses folders: what kills it is a fault like others."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def judged(found: Try, right: set[str]) -> tuple[str, str]:
    """What a try is counted as, and what is wrong with it, if anything."""
    if found.crash:
        return "crashed", found.crash
    if found.seconds > LATEST:
        return "too slow", f"{found.seconds:.0f} s"
    errors = [line for line in found.said.splitlines() if line.startswith("error: ")]
    if found.code in (1, 2):
        if len(errors) == 1 and len(errors[0]) < 1_500 and "Traceback" not in found.said:
            return "refused in one line", ""
        return "refused otherwise", found.said[-2_000:]
    if found.code != 0:
        return "ended otherwise", f"exit code {found.code}: {found.said[-2_000:]}"
    named = re.search(r"damaged|warning: |is gone|made again|has changed|lacks", found.said) is not None
    if found.result in right:
        return ("named, right" if named else "right"), ""
    if named and found.result.split()[0] in {word.split()[0] for word in right}:
        return "named, the rest is right", ""
    return "wrong", f"{found.result} in the place of {' or '.join(sorted(right))}: {found.said[-2_000:]}"


def use(kind: str, folder: Path, experiment: Path, steps: int = STEPS) -> Try:
    """Use a folder in this process, as a command would."""
    begin, said = time.monotonic(), io.StringIO()
    found = Try(None, "", "")
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            found.code, found.result = USES[kind](folder, experiment, steps)
        except SystemExit as stop:
            found.code = stop.code if isinstance(stop.code, int) else 1
        except BaseException as error:
            found.crash = f"{type(error).__name__}: {str(error)[:500]}"
    found.said, found.seconds = said.getvalue(), time.monotonic() - begin
    return found


def run_words(module: Any, *words: str) -> int:
    """A command in this process."""
    from train.command import run_command

    sys.argv = [module.__name__, *words]
    return run_command(module.main)


def resume(folder: Path, experiment: Path, steps: int) -> tuple[int, str]:
    """Go on to the end: parameters first, then the lines of the record."""
    from train import pretrain
    from train.checkpoint import state_digest
    from train.lines import comparable_lines
    from train.run import Run

    words = ("--exp", str(experiment), "--run-dir", str(folder), "--steps", str(steps), "--workers", "0")
    code = run_words(pretrain, *words)
    if code:
        return code, ""
    run = Run.open(folder)
    record = str([line for line in comparable_lines(folder) if "event" not in line])
    return 0, f"{run.step}-{state_digest(run.params)[:16]} {hash_of(record)}"


def opened(folder: Path, experiment: Path, steps: int) -> tuple[int, str]:
    """Open it from Python; an error that is meant for users counts as a refusal."""
    from train.command import run_command
    from train.run import Run

    found = []

    def main() -> int:
        from train.checkpoint import state_digest

        run = Run.open(folder)
        words = run.tokenizer.encode("a few words").tolist()
        found.append(f"{run.step}-{state_digest(run.params)[:16]} {words}")
        return 0

    return run_command(main), "".join(found)


def evaluate(folder: Path, experiment: Path, steps: int) -> tuple[int, str]:
    """Score it; the scores are the result."""
    from train import evaluate

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = run_words(evaluate, str(folder))
    lines = [line for line in said.getvalue().splitlines() if not line.startswith("written to")]
    return code, hash_of("\n".join(lines))


def export(folder: Path, experiment: Path, steps: int) -> tuple[int, str]:
    """Publish it; the bytes of the files are the result."""
    from train import export

    target = folder.with_name("published")
    shutil.rmtree(target, ignore_errors=True)
    words = [str(folder), "--to", str(target), "--family", "bert"]
    from train.command import run_command

    code = run_command(lambda: export.main(words))
    files = sorted(target.glob("*")) if code == 0 else []
    return code, hash_of("".join(f"{path.name} {hash_of(path.read_bytes())}\n" for path in files))


USES: dict[str, Callable[[Path, Path, int], tuple[int, str]]] = {
    "resume": resume,
    "open": opened,
    "evaluate": evaluate,
    "export": export,
}


def hash_of(content: str | bytes) -> str:
    """A short digest."""
    import hashlib

    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]


def damaged(folder: Path, rng: random.Random) -> tuple[str, str]:
    """Damage one file of a folder, each kind of file as likely as the others; says what was done to which."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    groups: dict[str, list[Path]] = {}
    for path in files:
        parts = path.relative_to(folder).parts
        groups.setdefault(parts[0] if parts[0] != "checkpoints" else "/".join(parts[:3]), []).append(path)
    path = rng.choice(groups[rng.choice(sorted(groups))])
    word = rng.choice(list(DAMAGES))
    DAMAGES[word](path, rng, files)
    return word, str(path.relative_to(folder))


def flip(path: Path, rng: random.Random, files: list[Path]) -> None:
    data = bytearray(path.read_bytes()) or bytearray(b"x")
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, rng: random.Random, files: list[Path]) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(max(1, len(data)))])


def delete(path: Path, rng: random.Random, files: list[Path]) -> None:
    path.unlink()


def empty(path: Path, rng: random.Random, files: list[Path]) -> None:
    path.write_bytes(b"")


def garble(path: Path, rng: random.Random, files: list[Path]) -> None:
    path.write_bytes(rng.randbytes(rng.randrange(1, 2_000)))


def nest(path: Path, rng: random.Random, files: list[Path]) -> None:
    path.write_bytes(b"[" * 100_000)


def swap(path: Path, rng: random.Random, files: list[Path]) -> None:
    other = rng.choice(files)
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


def folder(path: Path, rng: random.Random, files: list[Path]) -> None:
    path.unlink()
    path.mkdir()


def loop(path: Path, rng: random.Random, files: list[Path]) -> None:
    path.unlink()
    path.symlink_to(path.name)


def lock(path: Path, rng: random.Random, files: list[Path]) -> None:
    path.chmod(0)


DAMAGES: dict[str, Callable[[Path, random.Random, list[Path]], None]] = {
    "a flipped bit": flip,
    "the end cut off": truncate,
    "the loss": delete,
    "the emptying": empty,
    "garbage in the place": garble,
    "deep brackets in the place": nest,
    "another file in the place": swap,
    "a folder in the place": folder,
    "a link to itself in the place": loop,
    "no permission": lock,
}
