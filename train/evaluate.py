"""Held-out loss and accuracy of a run: python -m train.evaluate RUN_DIR [--data.source SOURCE]

Writes RUN_DIR/scores.json: flat, losses in nats. On another source than the run's own held-out documents it writes
RUN_DIR/scores-SOURCE.json instead, so that the result of the run stays what it was.
"""

import re
import sys
from dataclasses import dataclass

from train import cli
from train.command import configure_jax, run_command
from train.memory import keep_freed_memory
from train.options import Options


@dataclass(frozen=True)
class EvaluateOptions(Options):
    """What `train.evaluate` takes beside the run folder and overrides of its data."""

    step: int | None = None
    """Score the checkpoint of this step instead of the newest."""
    mesh: str = ""
    """Devices along each kind of parallelism, as data=2,fsdp=2; empty: all of them along data."""


def main() -> int:
    """The command; returns its exit code."""
    keep_freed_memory()
    request = cli.parse_folder(sys.argv[1:], command="evaluate", options=EvaluateOptions)
    configure_jax()
    from train.run import Run, RunError

    strange = sorted(path for path in request.given if path.split(".")[0] not in ("data", "step", "mesh"))
    if strange:
        raise RunError(
            f"--{strange[0]} cannot be changed after training; train.evaluate takes --data.…, --step and --mesh"
        )
    assert request.folder is not None  # parse_folder insists on one
    run = Run.open(request.folder, step=request.options.step, mesh=request.options.mesh)
    name, documents = "scores.json", None
    if request.experiment.data.source != request.base.data.source:
        from data.errors import NotPrepared
        from data.held_out import held_out_from_source

        source = request.experiment.data.source
        try:
            documents = held_out_from_source(source, run.tokenizer)
        except NotPrepared as error:
            raise error.for_experiment(request.folder) from None
        name = f"scores-{re.sub(r'[^A-Za-z0-9]+', '_', str(source)).strip('_')}.json"
    scores = run.evaluate(documents, data=request.experiment.data) | {"step": run.step}
    run.folder.write(name, scores)
    for key, value in scores.items():
        print(f"{key:24} {value:,}" if isinstance(value, int) else f"{key:24} {value:.4f}")
    print(f"written to {run.folder / name}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
