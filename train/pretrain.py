"""Pre-train an experiment: python -m train.pretrain --exp=NAME [--run-dir DIR] [--steps N] [--dotted.field VALUE ...]

Repeated on the same run folder it goes on where it stopped, bit for bit; on a finished one it prints the result.
"""

import sys
import time

from train import cli
from train.command import configure_jax, start
from train.memory import keep_freed_memory


def main() -> int:
    """The command; returns its exit code."""
    started = time.perf_counter()
    keep_freed_memory()
    request = cli.parse(sys.argv[1:], command="pretrain")
    if request.options.verify_resume:
        from train.verify import verify_resume

        return verify_resume(request)
    configure_jax()
    from train.session import train_run

    return train_run(request, started)


if __name__ == "__main__":
    start(main)
