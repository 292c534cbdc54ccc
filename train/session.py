"""A training session: from an experiment and a run folder to the result in that folder.

`train_run` reads as what happens: settle the experiment, open the folder, open the data, compile, restore, train, finish.
"""

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array

from data.batch import Batch
from data.errors import DataError, NotPrepared
from data.tokenizers import Tokenizer
from model.config import to_json
from model.peft import AdaLoRA
from model.peft.ada_lora import penalty
from train import cli
from train.checkpoint import Checkpoints, Keep, Restored
from train.command import configure_jax
from train.compiling import CompiledByShape
from train.config import Experiment, resume_refusals
from train.console import Console
from train.environment import write_environment
from train.loop import Loop
from train.material import Material, open_material
from train.options import FinetuneOptions, RunOptions
from train.progress import SCORES
from train.report import LiveReport, write_report
from train.run import Run, RunError, RunFolder
from train.scorer import Scorer
from train.selection import CLOSING, Selector
from train.sharding import MeshShape, batch_sharding, check_batch, make_mesh, place_batch, replicated
from train.signals import Stop
from train.starting import first_state
from train.state import Built, Params, TrainState, build, parameter_count
from train.step import StepOptions, make_step
from train.tracking import Tracker, read_metrics
from train.watching import Watch


def train_run(request, started: float) -> int:
    """Train what was asked for into its run folder. Returns the exit code: 0 done, 130 or 75 stopped and saved.

    Raises:
        RunError, DataError, TrackingError: bad input, before any work is lost.
        CheckpointError, Diverged: work was under way; what was saved is named.
    """
    options = request.options
    folder = RunFolder(options.run_dir or f"runs/{request.name}")
    experiment = request.experiment.for_platform(jax.default_backend(), request.given)
    mesh = make_mesh(MeshShape.parse(options.mesh))
    check_batch(experiment.data.batch_size, experiment.accumulate, mesh)
    folder.create()
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder.locked())
        init, drawn = agreed_init(folder, options), agreed_fresh(folder, options)
        if folder.exists():
            experiment = agree(folder, experiment, request)
            if is_finished(folder, experiment):
                print(closing_line(folder, folder.read("scores.json") or {}, experiment) + " (finished before)")
                return 0
        console = stack.enter_context(Console.open(experiment.steps, title=request.name, enabled=is_first_process()))
        console.say(f"{request.name} on {describe_devices()}, into {folder.path}")
        console.status("preparing the data")
        material = open_data(experiment, folder, init, request.given, console)
        experiment, tokenizer = material.experiment, material.tokenizer
        console.expect(experiment.steps)
        built = build(experiment, mesh)
        checkpoints = Checkpoints(folder.path, Keep(options.keep_last, 1, options.keep_every, options.keep == "log"))
        stack.callback(checkpoints.close)
        restored = restore(checkpoints, built.target, console)
        step = 0 if restored is None else restored.step
        if drawn and restored is None:
            console.say(f"only shape and vocabulary are those of {init}: all weights are drawn from the seed")
        if restored is None or built.parts.trained is not None:
            fresh = first_state(experiment, built, None if drawn else init, tokenizer, console.say)
            state = fresh if restored is None else restored.state._replace(frozen=fresh.frozen)
        else:
            state = restored.state
        if not folder.exists():
            begin(folder, experiment, request, material)
        elif folder.experiment() != experiment:  # more steps
            folder.write("config.json", to_json(experiment))
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
            tracker.event("resume", step=step)
            console.say(f"resuming after step {step}")
        stop = stack.enter_context(Stop(console.say))
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
        code = loop.run()
        if code is None:
            scores = finish(folder, loop, evaluator, built.target)
            tracker.close("done")
            console.close()
            print(closing_line(folder, scores, experiment))
            return 0
        tracker.event("stop", step=int(loop.state.step))
        tracker.close("stopped")
        write_report(folder.path)
        console.close()
        print(f"stopped and saved after step {int(loop.state.step)}; to go on: {command_again(request.command)}")
        return code


def train(experiment: Experiment, run_dir: str | Path, **options: Any) -> Run:
    """Train an experiment from a notebook or a program, or go on with it, and open the run; a finished one is only opened.

        run = train(experiment, "runs/mine", keep="log")

    `options` are those of `FinetuneOptions`; a task wants `init`. The errors are those of `train_run`; KeyboardInterrupt if
    it was stopped, everything saved.
    """
    configure_jax()
    request = cli.Request(
        Path(run_dir).name, experiment, experiment, FinetuneOptions(run_dir=str(run_dir), **options), frozenset()
    )
    if train_run(request, time.perf_counter()):
        raise KeyboardInterrupt(f"{run_dir} was stopped and saved; call again to go on")
    return Run.open(run_dir, mesh=request.options.mesh)


def agree(folder: RunFolder, experiment: Experiment, request) -> Experiment:
    """The experiment to go on with in a folder that has a run already; RunError names every field that stands in the way."""
    begun, name = folder.read("run.json") or {}, request.name
    if begun.get("experiment", name) != name:
        raise RunError(
            f"--run-dir {folder.path} holds a run of {begun['experiment']}, not of {name}; name another folder"
        )
    old = folder.experiment()
    experiment = experiment.as_begun(old, request.given)
    if refusals := resume_refusals(old, experiment):
        raise RunError(
            f"--run-dir {folder.path} holds a run that differs in {'; '.join(refusals)}; "
            "repeat the command that began it, or name another folder"
        )
    return experiment


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


def agreed_init(folder: RunFolder, options: RunOptions) -> str | None:
    """The run or published folder whose weights this one starts from: what it began with, even where that is not said again."""
    if not folder.exists():
        return options.init
    begun, init = (folder.read("run.json") or {}).get("init"), options.init
    if init is not None and (begun is None or Path(begun).resolve() != Path(init).resolve()):
        raise RunError(
            f"--run-dir {folder.path} holds a run that differs in init: was {begun}, now {init}; name another folder"
        )
    return begun


def agreed_fresh(folder: RunFolder, options: RunOptions) -> bool:
    """Whether the weights are drawn and only shape and vocabulary are those of `init`; RunError where the run began otherwise."""
    asked = isinstance(options, FinetuneOptions) and options.fresh
    if not folder.exists():
        return asked
    begun = bool((folder.read("run.json") or {}).get("fresh"))
    if asked and not begun:
        raise RunError(f"--run-dir {folder.path} holds a run that was not begun with --fresh; name another folder")
    if begun and not asked and options.init is not None:
        raise RunError(
            f"--run-dir {folder.path} holds a run that was begun with --fresh; say so, or name another folder"
        )
    return begun


def is_finished(folder: RunFolder, experiment: Experiment) -> bool:
    """Whether all steps of the experiment have been taken and scored."""
    done = [line for line in read_metrics(folder.path) if line.get("event") == "done"]
    there = set(folder.read("scores.json") or {})
    scored = "valid_loss" in there and bool(there & set(CLOSING))  # a result that is lost is made again
    return bool(done) and (done[-1]["step"] >= experiment.steps or done[-1].get("early", False)) and scored


def open_data(
    experiment: Experiment, folder: RunFolder, init: str | None, given: Collection[str], console: Console
) -> Material:
    """The data, opened; what must be prepared first is told with the command that does so."""
    try:
        return open_material(experiment, folder, init, given, console.say)
    except NotPrepared as error:
        raise DataError(f"{error.message}; run: {preparing_command()}") from None


def begin(folder: RunFolder, experiment: Experiment, request, material: Material) -> None:
    """Write what a run starts with; config.json comes last, since it is what makes the folder a run."""
    material.begin(folder)
    drawn = {"fresh": True} if agreed_fresh(folder, request.options) else {}
    folder.write("run.json", {"experiment": request.name, "init": request.options.init} | drawn)
    folder.write("base.json", to_json(request.base))
    folder.write("config.json", to_json(experiment))


def restore(checkpoints: Checkpoints, target: TrainState, console: Console) -> Restored | None:
    """The newest usable checkpoint; damaged ones are set aside by name and said."""
    restored = checkpoints.restore(target)
    for step, reason in restored.damaged if restored else ():
        console.say(
            f"checkpoint {step} is damaged ({reason}); moved to {checkpoints.set_aside(step)}, using the one before"
        )
    return restored


def compile_step(experiment: Experiment, built: Built, example: Batch, console: Console) -> CompiledByShape:
    """Compile the training step for the shape that it will see first, and say what it is."""
    options = StepOptions(experiment.seed, experiment.accumulate, experiment.compute_dtype)
    schedule = experiment.optimizer.schedule.build(experiment.steps)
    step = make_step(
        built.parts, experiment.objective, built.optimizer, schedule, options, built.rates, penalty_of(experiment)
    )
    where = jax.tree.map(lambda leaf: leaf.sharding, built.target)
    jitted = jax.jit(step, donate_argnums=0, out_shardings=(where, replicated(built.mesh)))
    compiled = CompiledByShape(jitted, built.target, built.mesh, console.status)
    seconds = compiled.prepare(place_batch(example, batch_sharding(built.mesh)))
    total, trained = parameter_count(built.parts.params), parameter_count(built.target.params)
    count = f"{total / 1e6:.1f} M parameters"
    if trained != total:
        count += f", {trained:,} of them trained ({100 * trained / total:.2f}%)"
    console.say(
        f"{count}, {size_of_step(experiment, example)}, {experiment.steps} steps, "
        f"mesh {dict(built.mesh.shape)}, {experiment.compute_dtype}; compiled in {seconds:.1f} s"
    )
    return compiled


def penalty_of(experiment: Experiment) -> Callable[[Params], Array] | None:
    """What is added to the loss for the sake of the parameters that are trained: AdaLoRA wants its factors orthogonal."""
    peft = experiment.peft
    return (lambda params: peft.penalty * penalty(params)) if isinstance(peft, AdaLoRA) else None


def size_of_step(experiment: Experiment, example: Batch) -> str:
    """How much a step sees: tokens of packed rows, or examples."""
    if experiment.is_task:
        return f"{len(example.tokens)} rows a step"
    return f"{sum(side.size for side in (example.tokens, example.source_tokens) if side is not None)} tokens a step"


def finish(folder: RunFolder, loop: Loop, evaluator: Scorer, target: TrainState) -> dict[str, float]:
    """The closing evaluation, the last checkpoint, and the files of the result. Safe to repeat if it was cut off."""
    step = int(loop.state.step)
    if loop.selector.selection.metric is not None and step not in loop.selector.seen:
        loop.evaluate(step)  # the last weights are a candidate too
    if (best := loop.selector.best_step) is not None and best != step:
        loop.console.say(f"the best {loop.selector.selection.metric} was at step {best}: its weights are the result")
        loop.checkpoints.wait()
        restored = loop.checkpoints.restore(target, best)
        assert restored is not None
        loop.state = loop.state._replace(params=restored.state.params)
    params = loop.state.weights
    loop.console.status("evaluating on all held-out rows")
    scores = evaluator.full(params) | folder.floors()
    if not any(line["step"] == step and set(line) & set(CLOSING) for line in read_metrics(folder.path)):
        loop.record_scores(step, scores)
    loop.keep_maps(step)
    loop.save(step)
    loop.checkpoints.wait()
    folder.write("scores.json", scores | {"step": step})
    folder.write(evaluator.samples_file, evaluator.samples(params))
    early = {"early": True} if loop.selector.exhausted else {}
    loop.tracker.event("done", step=step, valid_loss=scores["valid_loss"], **early)
    loop.tracker.flush()
    write_report(folder.path)
    return scores


def closing_line(folder: RunFolder, scores: dict[str, float], experiment: Experiment) -> str:
    """Where the run is and what it scored, in one line: the loss, and what the objective names beside it."""
    named = [f"{SCORES.get(name, name)} {scores[name]:.3f}" for name in experiment.headline if name in scores]
    extras = f" ({', '.join(named)})" if named else ""
    return f"{folder.path}: held-out loss {scores['valid_loss']:.3f} nats{extras}; see {folder / 'report.html'}"


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
    """The command line that was typed, quoted for a shell."""
    return shlex.join(["python", "-m", f"train.{command}", *sys.argv[1:]])
