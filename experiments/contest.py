"""A fair race of two programs on one machine: a process each, one running while the others wait, in turn."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


class Contestant:
    """A process that has its step ready and takes as many as it is asked for, when it is asked.

    It runs `python -m MODULE WORDS...`, which ends in `serve`, with the packages of the checkout `root`.
    """

    def __init__(self, python: str, module: str, *words: str, root: Path = ROOT):
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [python, "-m", module, *words],
            cwd=root,  # which comes first on the path of `python -m`
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.name = " ".join([module, *words])
        self._answer()  # ready

    def ask(self, what: str, count: int) -> list[float]:
        """Have it time `count` of something: seconds of "steps", or GFLOP/s of the "peak"."""
        print(what, count, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        with self._process:  # closes both pipes, and waits
            pass

    def _answer(self) -> list[float]:
        for line in self._process.stdout:  # type: ignore[union-attr]
            if line.startswith("["):  # libraries print, too
                return json.loads(line)
        self.close()
        raise RuntimeError(f"{self.name} ended with exit code {self._process.returncode}; its error stands above")


def serve(step: Callable[[], Any], peak: Callable[[], float] | None = None, warm_up: int = 2) -> None:
    """The other end of a Contestant: answer each line of standard input, until it closes."""
    for _ in range(warm_up):
        step()
    print("[]", flush=True)
    for line in sys.stdin:
        what, count = line.split()
        if what == "peak" and peak is not None:
            answers = [peak() for _ in range(int(count))]
        else:
            answers = [seconds_of(step) for _ in range(int(count))]
        print(json.dumps(answers), flush=True)


def seconds_of(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def torch_versions(python: str) -> dict[str, str]:
    """The versions of torch and transformers that an interpreter has; empty unless it has both."""
    words = (
        "import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in ('torch', 'transformers')}))"
    )
    done = subprocess.run([python, "-c", words], check=False, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else {}
