"""A training session: from an experiment and a run folder to the result in that folder.

`train_run` reads as what happens: settle the experiment, open the folder, open the data, compile, restore, train, finish.
"""

import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax

from data.errors import DataError, NotPrepared, named
from data.tokenizers import Tokenizer
from model.config import to_json
from train import cli
from train.agreement import agree, agreed_start, compare, is_finished, lost_results
from train.base import Base, Start, keep
from train.checkpoint import Checkpoints, Keep, Restored
from train.command import configure_jax
from train.compiling import compile_step
from train.config import Experiment
from train.console import Console
from train.diverging import Diverged, last_good
from train.environment import write_environment
from train.finishing import closing_line, finish, mend_report, settle
from train.folder import RunError, RunFolder, digest_of_text
from train.lines import is_marked, is_whole
from train.loop import Loop
from train.material import Material, open_material
from train.options import FinetuneOptions, RunOptions
from train.origin import check_init
from train.report import LiveReport, write_report
from train.room import check_room, check_rows
from train.run import Run
from train.schedules import short_of_peak
from train.selection import Selector
from train.sharding import MeshShape, batch_sharding, make_mesh
from train.signals import Stop
from train.starting import First, base_of, first_state
from train.state import Built, TrainState, build, parameter_count
from train.streams import tell
from train.tracking import METRICS_FILE, Tracker, read_metrics
from train.watching import Watch

OF_COMMANDS = ("seeds", "sweep", "search", "trials", "verify_resume", "list", "print_config", "diff")


def train_run(request, started: float) -> int:
    """Train what was asked for into its run folder. Returns the exit code: 0 done, 130 or 75 stopped and saved.

    Raises:
        RunError, DataError, TrackingError: bad input, before any work is lost.
        CheckpointError, Diverged: work was under way; what was saved is named.
    """
    options = request.options
    folder = RunFolder(options.run_dir or f"runs/{request.name}")
    experiment = request.experiment.for_platform(jax.default_backend(), request.given)
    if "watch_every" in request.given and not options.watch:
        raise RunError("--watch-every is of --watch, which is not given; give both, or leave it out")
    mesh = make_mesh(MeshShape.parse(options.mesh))
    check_rows(experiment, mesh)
    if options.init is not None and not folder.exists():
        check_init(options.init, fresh=isinstance(options, FinetuneOptions) and options.fresh)
    folder.create()
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder.locked())
        stack.enter_context(named(folder.path))
        start = agreed_start(folder, options)
        if options.keep_base and experiment.peft is None:
            raise RunError(
                "--keep-base is for runs with --peft: without it the checkpoints hold all weights; leave it out"
            )
        if folder.exists():
            experiment = agree(folder, experiment, request)
            more = start.asked is not None or (options.keep_base and not start.whole)  # to be checked, or to be kept
            finished = is_finished(folder, experiment)
            lost = lost_results(folder, experiment) if finished else {}
            if finished and not more and not lost:
                mend_report(folder)
                tell(closing_line(folder, folder.read("scores.json") or {}, experiment) + " (finished before)")
                return 0
            for name, wrong in lost.items():
                tell(f"{folder / name} {wrong}; the run is finished, and is scored again{folder.set_aside(name)}")
        console = stack.enter_context(Console.open(experiment.steps, title=request.name, enabled=is_first_process()))
        console.say(f"{request.name} on {describe_devices()}, into {folder.path}")
        console.status("preparing the data")
        material = open_data(experiment, folder, start.init, request.given, console)
        experiment, tokenizer = material.experiment, material.tokenizer
        console.expect(experiment.steps)
        if options.profile_steps is not None and options.profile_steps[0] >= experiment.steps:
            raise RunError(
                f"--profile {options.profile} begins after the last of {experiment.steps:,} steps; name others"
            )
        built = build(experiment, mesh)
        check_room(built)
        checkpoints = Checkpoints(folder.path, Keep(options.keep_last, 1, options.keep_every, options.keep == "log"))
        stack.callback(checkpoints.close)
        changes = changed_after_diverging(folder, experiment)
        restored = restore(checkpoints, built.target, console, last_good(folder.path))
        step = 0 if restored is None else restored.step
        if start.fresh and restored is None:
            console.say(f"only shape and vocabulary are those of {start.init}: all weights are drawn from the seed")
        in_order = "data.task.labels" in request.given  # an experiment has them in the order of its data, not of a head
        state, base, first = None if restored is None else restored.state, start.base, None
        if state is None or built.parts.trained is not None:
            first = first_state(experiment, built, start, tokenizer, console.say, in_order=in_order)
            state, base = first.state if state is None else state._replace(frozen=first.state.frozen), first.base
        elif start.asked is not None:
            base, _ = base_of(experiment, built, start, tokenizer, console.say)  # the same weights under another name
        if restored is None:
            if (short := short_of_peak(experiment.optimizer.schedule, experiment.steps)) is not None:
                console.say(f"note: {short}")
            check_asked(folder, experiment, built, state, material, options)
        remember(folder, experiment, request, material, remembered(start, base, first, keep_all=options.keep_base))
        lost = check_record(folder, experiment, restored, console)
        write_environment(
            folder.path,
            parameters=parameter_count(built.parts.params),
            tokens_per_step=experiment.data.batch_size * experiment.data.row_length,
        )
        tracker = stack.enter_context(
            Tracker.open(
                folder.path,
                run_name=request.name,
                config=to_json(experiment),
                writers=options.trackers,
                start_step=step,
                enabled=is_first_process(),
                say=console.say,
            )
        )
        if restored is not None:
            tracker.event("resume", step=step, **({"damaged": METRICS_FILE} if lost else {}))
            console.say(f"resuming after step {step}")
            if options.profile_steps is not None and options.profile_steps[0] < step:
                console.say(f"note: nothing is traced, since --profile {options.profile} begins before step {step}")
        if changes:
            tracker.event("changed", step=step, fields=changes)
            console.say(f"changed since it diverged: {'; '.join(changes)}")
        stop = Stop(console.say)
        evaluator = material.evaluator(built, experiment, folder)
        watch = open_watch(
            folder, experiment, built, evaluator, tokenizer, options
        )  # fails before anything is compiled
        position = None if restored is None else restored.position
        step_function = compile_step(experiment, built, material.example(evaluator, position), console)
        stream = material.stream(experiment, position, options.workers)
        stack.callback(stream.close)
        loop = Loop(
            step_function=step_function,
            state=state,
            stream=stream,
            placing=batch_sharding(mesh),
            evaluator=evaluator,
            checkpoints=checkpoints,
            tracker=tracker,
            console=console,
            stop=stop,
            total_steps=experiment.steps,
            evaluate_every=experiment.evaluate_every,
            checkpoint_every=experiment.checkpoint_every,
            max_skips=experiment.guard.max_skips,
            selector=Selector.from_lines(experiment.selection, read_metrics(folder.path)),
            profile=options.profile_steps,
            after_evaluation=LiveReport(folder.path, say=console.say).refresh,
            watch=watch,
        )
        console.say(f"first step {time.perf_counter() - started:.0f} s after the start")
        try:
            with stop:  # outside of it there is nothing to save, and a signal ends the command at once
                if loop.run() is None:
                    settle(loop, built.target)
            stream.close()
            scores = finish(folder, loop, evaluator) if stop.requested is None else {}
        except Diverged:
            tracker.close("failed")
            write_report(folder.path, say=console.say)
            raise
        if (code := stop.requested) is None:
            tracker.close("done")
            console.close()
            tell(closing_line(folder, scores, experiment))
            return 0
        tracker.event("stop", step=int(loop.state.step))
        tracker.close("stopped")
        write_report(folder.path, say=console.say)
        console.close()
        tell(f"stopped and saved after step {int(loop.state.step)}; to go on: {command_again(request.command)}")
        return code


def train(experiment: Experiment, run_dir: str | Path, **options: Any) -> Run:
    """Train an experiment from a notebook or a program, or go on with it, and open the run; a finished one is only opened.

        run = train(experiment, "runs/mine", keep="log")

    `options` are those of `FinetuneOptions` that say how one run is trained; a task wants `init`. The errors are those of
    `train_run`, and RunError for an option that this call cannot use; KeyboardInterrupt if it was stopped, everything saved.
    """
    if strange := [name for name in options if name in OF_COMMANDS]:
        raise RunError(f"train() trains one run, and has no use for {strange[0]}; give it to python -m train.finetune")
    if options.get("fresh") and not experiment.is_task:
        raise RunError("fresh is of tasks, which take shape and vocabulary from init; leave it out, or init")
    configure_jax()
    chosen = FinetuneOptions(run_dir=str(run_dir), **options)
    request = cli.Request(Path(run_dir).name, experiment, experiment, chosen, frozenset(options))
    if train_run(request, time.perf_counter()):
        raise KeyboardInterrupt(f"{run_dir} was stopped and saved; call again to go on")
    return Run.open(run_dir, mesh=request.options.mesh)


def check_asked(
    folder: RunFolder,
    experiment: Experiment,
    built: Built,
    state: TrainState,
    material: Material,
    options: RunOptions,
) -> None:
    """An error, before a folder is written, for a score to select by and modules to watch that are not there."""
    if experiment.selection.metric is None and not options.watch:
        return
    evaluator = material.evaluator(built, experiment, folder if folder.exists() else None)
    open_watch(folder, experiment, built, evaluator, material.tokenizer, options)
    if experiment.selection.metric is not None:
        other = f", and another folder than {folder.path}" if folder.exists() else ""
        remedy = f"; nothing was trained: name one of them{other}"
        Selector(experiment.selection).check(evaluator.quick(state.weights), remedy)


def open_watch(
    folder: RunFolder,
    experiment: Experiment,
    built: Built,
    evaluator: Any,
    tokenizer: Tokenizer,
    options: RunOptions,
) -> Watch | None:
    """What --watch asks for, if anything."""
    if not options.watch:
        return None
    if experiment.is_task:
        raise RunError("--watch is of pre-training; look at a fine-tuned run with python -m train.inspect")
    return Watch(
        folder,
        built,
        experiment.text_objective,
        evaluator,
        tokenizer,
        patterns=options.watch,
        every=options.watch_every,
        compute_dtype=experiment.compute_dtype,
    )


def open_data(
    experiment: Experiment, folder: RunFolder, init: str | None, given: Collection[str], console: Console
) -> Material:
    """The data, opened; what must be prepared first is told with the command that does so."""
    try:
        return open_material(experiment, folder, init, given, console.say)
    except NotPrepared as error:
        raise DataError(f"{error.message}; run: {preparing_command()}") from None


def remember(
    folder: RunFolder, experiment: Experiment, request: cli.Request, material: Material, begun: dict[str, Any]
) -> None:
    """Write what a run starts with, or what has changed of it; config.json comes last, since it is what makes the folder a run.

    Whatever moment this is cut off at, the digests in run.json fit the files that are there.
    """
    config, declared = folder.text_of(to_json(experiment)), folder.text_of(to_json(request.base))
    if not folder.exists():
        material.begin(folder)
        drawn = {"fresh": True} if isinstance(request.options, FinetuneOptions) and request.options.fresh else {}
        said = {"experiment": request.name, "init": request.options.init} | drawn | material.reading | begun
        folder.write_begun(said | {"files": folder.seal({"base.json": declared, "config.json": config})})
        folder.write_text("base.json", declared)
        folder.write_text("config.json", config)
        return
    said = folder.begun()
    if folder.experiment() != experiment:  # more steps
        if files := said.get("files"):
            both = list(dict.fromkeys([*files.get("config.json", []), digest_of_text(config)]))
            folder.write_begun(said | {"files": files | {"config.json": both}})
        folder.write_text("config.json", config)
    if begun:
        said = folder.begun() | begun
        folder.write_begun(said) if "format" in said else folder.write("run.json", said)


def check_record(folder: RunFolder, experiment: Experiment, restored: Restored | None, console: Console) -> bool:
    """Whether lines of the record are gone, or others, that the checkpoint covers; it is said, and refused where they decide."""
    path = folder / METRICS_FILE
    if restored is None or restored.record is None:
        return False
    if not is_marked(path, restored.record):
        wrong = f"{path} does not hold the lines that checkpoint {restored.step} covers: it is damaged or gone"
    elif not is_whole(path):
        wrong = f"{path} does not hold the lines that the run ended with: it is damaged"
    else:
        return False
    if experiment.selection.metric is not None:
        raise RunError(
            f"{wrong}, and selection.metric={experiment.selection.metric} chooses by them; restore it from a copy"
        )
    if path.is_dir() or path.is_symlink():
        raise RunError(f"{wrong}, and no file; remove it, or restore it from a copy")
    console.say(f"{wrong}; the weights are not, and the record goes on with the lines that are left")
    return True


def remembered(start: Start, base: Base | None, first: First | None, *, keep_all: bool) -> dict[str, Any]:
    """What run.json is to say anew of the weights that the checkpoints do not hold; those that must be kept are written."""
    fields: dict[str, Any] = {}
    if base is not None and base != start.base:
        fields["base"] = dataclasses.asdict(base)
    if first is not None and ((first.drawn and start.kept is None) or (keep_all and not start.whole)):
        kept = first.drawn | (first.given if keep_all else {})
        fields["kept"] = {"digest": keep(start.folder, kept), "whole": keep_all}
    return fields


def changed_after_diverging(folder: RunFolder, experiment: Experiment) -> list[str]:
    """What a command changes in a run that has diverged; empty for any other run."""
    if not folder.exists() or last_good(folder.path) is None:
        return []
    return compare(folder.experiment(), experiment)


def restore(checkpoints: Checkpoints, target: TrainState, console: Console, good: int | None = None) -> Restored | None:
    """The newest usable checkpoint; damaged ones are set aside by name and said, and those behind the last good one of a run
    that has diverged."""
    for step in [] if good is None else [step for step in checkpoints.steps() if step > good]:
        aside = checkpoints.set_aside(step, "diverged")
        console.say(f"checkpoint {step} was written as the run diverged; moved to {aside}")
    restored = checkpoints.restore(target)
    for step, reason in restored.damaged if restored else ():
        console.say(
            f"checkpoint {step} is damaged ({reason}); moved to {checkpoints.set_aside(step)}, using the one before"
        )
    return restored


def is_first_process() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def describe_devices() -> str:
    """`1 CPU device`, `8 NVIDIA H100 devices`."""
    devices = jax.devices()
    kind = devices[0].device_kind
    return f"{len(devices)} {kind.upper() if kind == 'cpu' else kind} device{'s' if len(devices) > 1 else ''}"


def preparing_command() -> str:
    """The command that prepares the data of this one: the same experiment, and whatever was said of its data."""
    flags, _ = cli.split(sys.argv[1:], RunOptions)
    words = [f"--{path}={text}" for path, text in flags.items() if path == "exp" or path.startswith("data.")]
    return shlex.join(["python", "-m", "train.prepare", *words])


def command_again(command: str) -> str:
    """The command line that was typed, quoted for a shell; it may be one that trains on behalf of another."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = spec.name if spec is not None and spec.name.startswith("experiments.") else f"train.{command}"
    return shlex.join(["python", "-m", module, *sys.argv[1:]])
