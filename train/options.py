"""Options of a command: what may differ between two runs of one experiment. Nothing here changes what is learnt."""

import re
from dataclasses import dataclass
from typing import Literal

TRACKERS = ("wandb", "tensorboard")
MOST_WORKERS = 1_024


@dataclass(frozen=True)
class Options:
    """What every command takes."""

    list: bool = False
    """List the experiments, and stop."""
    print_config: Literal["flags", "json"] | None = None
    """Print the experiment with its overrides, as flags that can be given again (default) or as JSON, and stop."""
    diff: bool = False
    """Print what differs from the experiment as declared, and stop."""


@dataclass(frozen=True)
class RunOptions(Options):
    """What a training command takes beside its experiment."""

    run_dir: str | None = None
    """The run folder; a run that is there is continued. None: runs/NAME."""
    init: str | None = None
    """Start from the weights of another run, or of a published folder."""
    keep_base: bool = False
    """With --peft: keep the weights of --init in the run folder, so that it stands alone."""
    mesh: str = ""
    """Devices along each kind of parallelism, as data=2,fsdp=2,tensor=2; empty: all of them along data."""
    workers: int = 0
    """Processes that prepare batches, 0 for a thread of this one; the batches are the same for any number."""
    track: str = ""
    """Copy the record to wandb, tensorboard, or both as wandb,tensorboard; metrics.jsonl is always written."""
    profile: str = ""
    """Trace the steps FIRST:LAST with the profiler, as 10:15."""
    keep_last: int = 2
    """Newest checkpoints that are kept, besides the best."""
    keep_every: int | None = None
    """Also keep the checkpoint of every so many steps, for looking back over the training."""
    keep: Literal["log"] | None = None
    """log: also keep checkpoints at steps 1, 2, 4, 8, ..."""
    watch: str = ""
    """Watch attention, as 'layers.*.attention': figures of every head in metrics.jsonl, maps at evaluations in report.html."""
    watch_every: int = 50
    """Steps between two looks."""
    verify_resume: bool = False
    """Kill a run at a random step, resume it, and compare it bit for bit with an undisturbed one."""

    def __post_init__(self):
        for name, least in (("workers", 0), ("keep_last", 1), ("keep_every", 1), ("watch_every", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}={value} must be at least {least}")
        if self.workers > MOST_WORKERS:
            raise ValueError(f"workers={self.workers} are more processes than would help; use {MOST_WORKERS} at most")
        for word in self.trackers:
            if word not in TRACKERS:
                raise ValueError(f"track={self.track}: {word!r} is not one of {', '.join(TRACKERS)}")
        if self.profile and (self.profile_steps is None or self.profile_steps[0] >= self.profile_steps[1]):
            raise ValueError(f"profile={self.profile} is not FIRST:LAST with FIRST before LAST, such as 10:15")

    @property
    def trackers(self) -> tuple[str, ...]:
        """The trackers by name."""
        return tuple(word.strip() for word in self.track.split(",") if word.strip())

    @property
    def profile_steps(self) -> tuple[int, int] | None:
        """The steps to trace, first <= step < last."""
        found = re.fullmatch(r"(\d+):(\d+)", self.profile)
        return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True)
class FinetuneOptions(RunOptions):
    """What `train.finetune` takes beside its experiment."""

    fresh: bool = False
    """Take shape and vocabulary from --init, but draw the weights: what pre-training is to be measured against."""
    seeds: str = ""
    """Several runs that differ in their seed: how many, or which, as 3 or 0,1,2; their mean and spread are written."""
    sweep: str = ""
    """Several runs over a small grid, as 'optimizer.schedule.peak=2e-5,5e-5 data.batch_size=16,32', and a page that compares."""

    search: str = ""
    """A search by optuna, as 'optimizer.schedule.peak=1e-5:1e-3:log data.batch_size=16,32'; the seed decides its proposals."""
    trials: int = 10
    """Runs of a search."""

    def __post_init__(self):
        super().__post_init__()
        if self.trials < 1:
            raise ValueError(f"trials={self.trials} must be at least 1")
        if self.search and (self.seeds or self.sweep):
            raise ValueError("--search chooses runs by itself; leave --seeds and --sweep out")
        if self.fresh and self.init is None:
            raise ValueError("--fresh takes the shape of --init, so give one: a run or a published folder")
