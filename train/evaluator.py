"""The evaluator: parameters scored on held-out documents, during training and after it."""

from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from data.batch import Batch
from data.documents import Documents
from data.modes import Mode
from data.pipeline import eval_batches
from data.tokenizers import Tokenizer
from train.config import Experiment
from train.metrics import add_up, divide
from train.objectives import HeldOut, Means, Sample
from train.objectives.scoring import likeliest
from train.sharding import batch_sharding, place_batch
from train.state import Built, Params
from train.step import cast, make_measure


class Evaluator:
    """Scores parameters on held-out documents, under each way of corrupting a row that the objective knows."""

    samples_file = "samples.json"  # what a run folder keeps of `samples`
    signatures: Mapping[str, str] = MappingProxyType({})  # a loss needs no word on how it is counted

    def __init__(self, built: Built, experiment: Experiment, tokenizer: Tokenizer, documents: Documents):
        self._built, self._experiment, self._tokenizer, self._documents = built, experiment, tokenizer, documents
        self._placing = batch_sharding(built.mesh)
        self._measure = jax.jit(make_measure(built.parts, experiment.objective, experiment.compute_dtype))

    def batches(self, mode: Mode, limit_rows: int | None = None) -> Iterator[Batch]:
        """The held-out rows as host batches, corrupted the same way at every call."""
        experiment = self._experiment
        return eval_batches(
            self._documents,
            experiment.text_data,
            experiment.text_objective.packing(),
            experiment.text_objective.corrupt(self._tokenizer, experiment.data.row_length, mode),
            seed=experiment.seed,
            batch_size=experiment.data.batch_size,
            limit_rows=limit_rows,
        )

    def quick(self, params: Params) -> Means:
        """The headline figures on the first rows only: a look during training that costs little."""
        return self.headline(params, self._experiment.evaluate_rows)

    def headline(self, params: Params, limit_rows: int | None = None) -> Means:
        """The headline figures, without those that need other ways of corrupting a row; on all rows, or the first."""
        objective = self._experiment.text_objective
        return objective.scores({objective.modes[0]: self._means(params, objective.modes[0], limit_rows)})

    def full(self, params: Params) -> Means:
        """Every figure on every held-out row, beside the floors that they should be read against."""
        objective = self._experiment.text_objective
        seen = {mode: self._means(params, mode, None) for mode in objective.modes}
        token_counts, target_counts = np.zeros((2, self._tokenizer.vocab_size), np.int64)
        for batch in self.batches(objective.modes[0]):
            np.add.at(target_counts, objective.targets(batch), 1)
        for index in range(len(self._documents)):
            np.add.at(token_counts, self._documents.ids(index), 1)
        return objective.scores(seen, HeldOut(self._documents.bytes, token_counts, target_counts)) | {
            "held_out_documents": len(self._documents),
            "held_out_targets": int(target_counts.sum()),
        }

    def samples(self, params: Params, rows: int = 6, places: int = 6, guesses: int = 5) -> list[dict[str, Any]]:
        """What the model fills in: a few held-out rows, tokens that it is asked for, and its likeliest guesses."""
        objective, token = self._experiment.text_objective, self._tokenizer.token
        batch = next(iter(self.batches(objective.modes[0], rows)))
        used = min(rows, int((batch.segments.max(axis=1) > 0).sum()))
        samples = [objective.sample(batch, row, places) for row in range(used)]
        asked = np.zeros((len(batch.tokens), places), np.int32)
        for row, sample in enumerate(samples):
            asked[row, : len(sample.places)] = sample.places
        model = self._built.parts.merge(cast(params, self._experiment.compute_dtype))
        predict = jax.jit(partial(likeliest, objective, min(guesses, self._tokenizer.vocab_size)))
        placed = place_batch((batch, asked), self._placing)
        probabilities, ids = jax.device_get(predict(model, *placed))

        def told(row: int, sample: Sample) -> dict[str, Any]:
            questions = [
                {
                    "token_index": int(at),
                    "target": token(int(target)),
                    "predictions": [
                        [token(int(i)), round(float(p), 4)]
                        for i, p in zip(ids[row, slot], probabilities[row, slot], strict=True)
                    ],
                }
                for slot, (at, target) in enumerate(zip(sample.shown_at, sample.targets, strict=True))
            ]
            source = {} if sample.source is None else {"source": [token(int(i)) for i in sample.source]}
            return source | {"tokens": [token(int(i)) for i in sample.tokens], "places": questions}

        return [told(row, sample) for row, sample in enumerate(samples)]

    def _means(self, params: Params, mode: Mode, limit_rows: int | None) -> Means:
        placed = (place_batch(batch, self._placing) for batch in self.batches(mode, limit_rows))
        with jax.set_mesh(self._built.mesh):
            return divide(add_up(self._measure(params, batch) for batch in placed))
