"""What ran: interpreter, packages, devices, revision and command, for the run folder and the report."""

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.foreign import read_json
from train.lines import replace_text

ENVIRONMENT_FILE = "environment.json"
PACKAGES = (
    "loupe-transformers",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "array_record",
    "tensorflow-datasets",
    "sentencepiece",
    "tokenizers",
    "numpy",
)
VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "CUDA_VISIBLE_DEVICES")  # and all that begin with JAX_


def describe_environment(**extra: Any) -> dict[str, Any]:
    """Everything outside the configuration that a result may depend on, as plain JSON values.

    Looks at the devices, so JAX is started if it was not. `extra` is added as it is: parameters, tokens_per_step, ...
    """
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command_line(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cpu_count": os.cpu_count(),
        "packages": package_versions(),
        "variables": {
            name: value for name, value in sorted(os.environ.items()) if name in VARIABLES or name.startswith("JAX_")
        },
        **devices(),
        **revision(),
        **extra,
    }


def write_environment(run_dir: str | Path, **extra: Any) -> dict[str, Any]:
    """Write `environment.json`: this start of the run, and under "earlier" those before it."""
    path = Path(run_dir) / ENVIRONMENT_FILE
    found = describe_environment(**extra)
    try:
        before = read_json(path, DataError)
    except DataError:
        found["earlier"] = []
    else:
        earlier = before.pop("earlier", [])
        found["earlier"] = [*(earlier if isinstance(earlier, list) else []), before]
    replace_text(path, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return found


def command_line() -> str:
    """The command as it was typed, as far as the interpreter knows: `python -m train.pretrain --exp=bert_small`."""
    words = list(sys.orig_argv) or [sys.executable, *sys.argv]
    return shlex.join([Path(words[0]).name, *words[1:]])


def for_others(environment: dict[str, Any]) -> dict[str, Any]:
    """What a result that is handed around says of it: where things lay on the machine is left out of the command.

    >>> for_others({"command": "python -m experiments.bench lora --out=/home/me/x.json --peer-python /opt/env/bin/python"})
    {'command': 'python -m experiments.bench lora --out=x.json --peer-python python'}
    >>> for_others({"command": "python -m train.finetune '--data.source=files:/me/a.tsv|~/b c.tsv'"})
    {'command': "python -m train.finetune '--data.source=files:a.tsv|b c.tsv'"}
    """

    def short(word: str) -> str:
        # A path begins the word, or follows one of = : |. What begins with // is none: a URL has it.
        return re.sub(r"(?<![^=:|])(?:~|/(?!/))(?:[^|]*/)?", "", word)

    if "command" not in environment:
        return environment
    return environment | {"command": shlex.join(short(word) for word in shlex.split(environment["command"]))}


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def devices() -> dict[str, Any]:
    """What JAX computes on: backend, kind and number of devices, number of processes."""
    import jax

    found = jax.devices()
    return {
        "backend": jax.default_backend(),
        "device_kind": found[0].device_kind,
        "device_count": len(found),
        "process_count": jax.process_count(),
    }


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def revision(folder: str | Path | None = None) -> dict[str, Any]:
    """The git revision of our own sources, whether they were changed since, and a short hash of those changes.

    All None where the sources are not the top of a repository (an installed wheel) or git is missing.
    """
    folder = Path(folder or Path(__file__).parent.parent).resolve()
    commit, top = git(folder, "rev-parse", "HEAD"), git(folder, "rev-parse", "--show-toplevel")
    if commit is None or top is None or Path(top.strip()).resolve() != folder:
        return {"git_revision": None, "git_dirty": None, "git_changes": None}
    dirty = bool(git(folder, "status", "--porcelain"))
    changes = hashlib.sha256((git(folder, "diff", "HEAD") or "").encode()).hexdigest()[:12] if dirty else None
    return {"git_revision": commit.strip(), "git_dirty": dirty, "git_changes": changes}


def git(folder: Path, *words: str) -> str | None:
    """The output of a git command, or None where it fails; never asks for anything, never waits long."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=20,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
