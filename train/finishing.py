"""The end of a training: the weights that are the result, their scores, and the files that say so."""

from train.config import Experiment
from train.lines import read_metrics
from train.loop import Loop
from train.progress import SCORES
from train.report import write_report
from train.run import RunFolder
from train.scorer import Scorer
from train.selection import CLOSING
from train.state import TrainState


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
        loop.state = loop.state._replace(params=restored.state.params, mean=restored.state.mean)
    params = loop.state.weights
    loop.console.status("evaluating on all held-out rows")
    scores = evaluator.full(params) | folder.floors()
    if not any(line["step"] == step and set(line) & set(CLOSING) for line in read_metrics(folder.path)):
        loop.record_scores(step, scores)
    loop.keep_maps(step)
    loop.save(step)
    loop.checkpoints.wait()
    folder.write("scores.json", scores | dict(evaluator.signatures) | {"step": step})
    for name, signature in evaluator.signatures.items():
        loop.console.say(f"{name}: {signature}")
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
