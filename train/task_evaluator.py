"""The evaluator of a task: what a model answers to every held-out example, and what that scores."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from data.batch import PADDING_ROW, Batch
from data.tasks.batches import eval_task_batches
from data.tasks.choices import Classification, Generation
from data.tasks.opened import TaskSet
from data.tokenizers import Tokenizer
from train.config import Experiment
from train.metric_tokens import check_tokenizer
from train.metrics import add_up, divide
from train.objectives import Means, Measured
from train.objectives.with_head import TaskObjective
from train.predictions import predictions_json
from train.pretrained import Opened
from train.sharding import batch_sharding, gather_unstacked, place_batch
from train.state import Built, Params
from train.step import cast, make_measure
from train.task_attributions import attributions
from train.task_scores import Answered, counted_by, label_targets, of_texts, scores
from train.writing import write

TOGETHER = 32  # texts that are written at once, at most
LOSSES = ("label", "tag", "start", "end", "choice", "pair", "next")


class TaskEvaluator:
    """Scores parameters on the held-out examples of a task. Of each shape that batches have, it compiles once."""

    samples_file = "predictions.json"  # what a run folder keeps of `samples`

    def __init__(self, built: Built, experiment: Experiment, held_out: TaskSet, tokenizer: Tokenizer):
        self._built, self.experiment, self.held_out, self.tokenizer = built, experiment, held_out, tokenizer
        self._placing = batch_sharding(built.mesh)
        if isinstance(held_out.task, Generation):
            check_tokenizer(held_out.task.metric_tokenizer)
        self.signatures: Mapping[str, str] = signatures(counted_by(held_out))
        objective = experiment.objective
        predict = objective.predict if isinstance(objective, TaskObjective) else lambda model, batch: {}
        measure = make_measure(built.parts, objective, experiment.compute_dtype)

        def look(params: Params, batch: Batch) -> tuple[Measured, dict[str, Any]]:
            model = built.parts.merge(gather_unstacked(cast(params, experiment.compute_dtype)))
            return measure(params, batch), predict(model, batch)  # the compiler runs the model once for both

        self._look = jax.jit(look)

    def batches(self, mode: str = "train", limit_rows: int | None = None) -> Iterator[Batch]:
        """The held-out rows as host batches; a row is shown in one way only, whatever the `mode`."""
        return self._batches(self.held_out, limit_rows)

    def quick(self, params: Params) -> dict[str, float]:
        """Every score, on the first held-out examples only."""
        return self._scores(params, self.experiment.evaluate_rows)

    def full(self, params: Params) -> dict[str, float]:
        """Every score on every held-out example."""
        found = self._scores(params, None)
        if isinstance(self.held_out.task, Generation):
            written, counted = of_texts(self.held_out, self.written(params))
            found |= written
            self.signatures = signatures(counted)
        return found | {"held_out_examples": len(self.held_out)}

    def answers(self, params: Params, examples: TaskSet | None = None) -> Answered:
        """What the model gives for each row, by name, in the order of the rows; float32. `examples` may be others than those
        held out.
        """
        return self._see(params, None, examples)[1]

    def written(self, params: Params) -> list[str]:
        """What the model writes for each held-out example of a task of generation, greedily."""
        task = self.held_out.task
        assert isinstance(task, Generation)
        model = self._built.parts.merge(cast(params, self.experiment.compute_dtype))
        opened = Opened(model, self.tokenizer, self.experiment.model, "the model")
        most = task.target_length or self.experiment.task_data.row_length
        prompts = [np.asarray(ids, np.int32) for ids in self.held_out.extras["prompts"]]
        found, together = [], min(TOGETHER, self.experiment.data.batch_size)  # whoever lacks memory lowers the latter
        for start in range(0, len(prompts), together):
            texts = write(opened, prompts[start : start + together], max_new_tokens=most)
            found += [copies[0].text.strip() for copies in texts]
        return found

    def samples(self, params: Params) -> dict[str, Any]:
        """What the model says of each held-out example of a classification, for a reader (train/predictions.py)."""
        if not isinstance(self.held_out.task, Classification):
            return {}
        logits = np.stack(self.answers(params)["logits"])
        targets = label_targets(self.held_out.rows)
        model = self._built.parts.merge(cast(params, self.experiment.compute_dtype))
        found = attributions(model, self.held_out, logits, targets, self.tokenizer)
        texts = [self.held_out.texts(int(number)) for number in self.held_out.owner]
        return predictions_json(self.held_out.labels, texts, logits, targets, found)

    def _scores(self, params: Params, limit_rows: int | None) -> dict[str, float]:
        means, answered = self._see(params, limit_rows)
        found = {"valid_loss": sum(means.get(name, 0.0) for name in LOSSES)}
        if "pair" in means:
            found["accuracy"] = means["accuracy"]
        if "next" in means:
            found |= {"perplexity": math.exp(min(means["next"], 700.0)), "accuracy": means["accuracy"]}
        return found | scores(self.held_out, answered)

    def _batches(self, examples: TaskSet, limit_rows: int | None) -> Iterator[Batch]:
        return eval_task_batches(examples, self.experiment.task_data, limit_rows=limit_rows)

    def _see(self, params: Params, limit_rows: int | None, examples: TaskSet | None = None) -> tuple[Means, Answered]:
        shown = self.held_out if examples is None else examples
        rows = len(shown.rows) if limit_rows is None else min(limit_rows, len(shown.rows))
        found: Answered = {}
        seen: list[Measured] = []
        with jax.set_mesh(self._built.mesh):
            for batch in self._batches(shown, limit_rows):
                measured, given = jax.device_get(self._look(params, place_batch(batch, self._placing)))
                seen.append(measured)
                for name, values in given.items():
                    kept = found.setdefault(name, [np.zeros(0, np.float32)] * rows)
                    for number, value in zip(batch.example_ids.tolist(), values, strict=True):
                        if number != PADDING_ROW:
                            kept[number] = np.asarray(value, np.float32)
        return divide(add_up(seen)), found


def signatures(counted: dict[str, str]) -> dict[str, str]:
    """How scores were counted, under the names that stand beside them in scores.json."""
    return {f"{name}_signature": text for name, text in counted.items()}
