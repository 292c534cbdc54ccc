"""From the command to the first training step of `bert_small`: on a bare machine, and with everything cached."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def bench_start() -> dict[str, float]:
    """Seconds until step 1 is done: cold (corpus, vocabulary and compilation from nothing), then warm (all of it cached)."""
    with tempfile.TemporaryDirectory(prefix="loupe-start-") as folder:
        environment = os.environ | {"LOUPE_CACHE": f"{folder}/cache"}
        found = {name: seconds_to_first_step(Path(folder) / name, environment) for name in ("cold", "warm")}
    return {f"{name}_seconds": round(seconds, 1) for name, seconds in found.items()}


def seconds_to_first_step(run_dir: Path, environment: dict[str, str]) -> float:
    """Train one step in a process of its own; the record says when the step was done."""
    command = [sys.executable, "-m", "train.pretrain", "--exp=bert_small", "--steps", "1", "--run-dir", str(run_dir)]
    begin = time.time()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = json.loads((run_dir / "metrics.jsonl").read_text().partition("\n")[0])
    return first["time"] - begin
