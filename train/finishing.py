"""The end of a training: the weights that are the result, their scores, and the files that say so."""

from train.config import Experiment
from train.lines import COVERS, read_metrics
from train.loop import Loop
from train.progress import SCORES
from train.report import FINISHED, MADE_OF, REPORT_FILE, write_report
from train.run import RunFolder
from train.scorer import Scorer
from train.selection import CLOSING
from train.state import TrainState


class ReportError(RuntimeError):
    """The report of a finished run could not be written; the message is one line with the remedy."""

    exit_code = 1


def settle(loop: Loop, target: TrainState) -> None:
    """Choose the weights that are the result, and save them: what comes after this can be made again from the checkpoint."""
    step = int(loop.state.step)
    if loop.selector.selection.metric is not None and step not in loop.selector.seen:
        loop.evaluate(step)  # the last weights are a candidate too
    if (best := loop.selector.best_step) is not None and best != step:
        loop.console.say(f"the best {loop.selector.selection.metric} was at step {best}: its weights are the result")
        loop.checkpoints.wait()
        restored = loop.checkpoints.restore(target, best)
        assert restored is not None
        loop.state = loop.state._replace(params=restored.state.params, mean=restored.state.mean)
        if restored.state.mean is not None and loop.selector.selection.average is None:
            loop.state = loop.state._replace(optimizer=restored.state.optimizer)  # whose average it is
    loop.save(step)
    loop.checkpoints.wait()


def finish(folder: RunFolder, loop: Loop, evaluator: Scorer) -> dict[str, float]:
    """The closing evaluation and the files of the result. Safe to repeat if it was cut off."""
    step, params = int(loop.state.step), loop.state.weights
    loop.console.status("evaluating on all held-out rows")
    scores = evaluator.full(params) | folder.floors()
    if not any(line["step"] == step and set(line) & set(CLOSING) for line in read_metrics(folder.path)):
        loop.record_scores(step, scores)
    loop.check_finite(step, scores)
    loop.keep_maps(step)
    folder.write("scores.json", scores | dict(evaluator.signatures) | {"step": step})
    for name, signature in evaluator.signatures.items():
        loop.console.say(f"{name}: {signature}")
    folder.write(evaluator.samples_file, evaluator.samples(params))
    early = {"early": True} if loop.selector.exhausted else {}
    loop.tracker.flush()
    loop.tracker.event("done", step=step, valid_loss=scores["valid_loss"], **early, **{COVERS: loop.tracker.mark()})
    loop.tracker.flush()
    close_report(folder)
    return scores


def close_report(folder: RunFolder) -> None:
    """Write the report of a finished run. ReportError where that fails."""
    said: list[str] = []
    if write_report(folder.path, say=said.append) is None:
        raise ReportError(f"{' '.join(said)}; the run is finished and saved: free some space or mend what stands in the way, "
                          "then repeat the command to write its report")  # fmt: skip


def mend_report(folder: RunFolder) -> None:
    """Write the report of a finished run again if it is missing, does not say that the run is finished, or is older than what it
    tells of: the run may have ended, or its disk been full, before the report was written."""
    report = folder / REPORT_FILE
    try:
        written = report.stat().st_mtime
        told = FINISHED in report.read_text(encoding="utf-8", errors="replace")
    except OSError:
        told, written = False, 0.0
    made_of = [path.stat().st_mtime for name in MADE_OF if (path := folder / name).is_file()]
    if not told or written < max(made_of, default=0.0):
        close_report(folder)


def closing_line(folder: RunFolder, scores: dict[str, float], experiment: Experiment) -> str:
    """Where the run is and what it scored, in one line: the loss, and what the objective names beside it."""
    named = [f"{SCORES.get(name, name)} {scores[name]:.3f}" for name in experiment.headline if name in scores]
    extras = f" ({', '.join(named)})" if named else ""
    return f"{folder.path}: held-out loss {scores['valid_loss']:.3f} nats{extras}; see {folder / 'report.html'}"
