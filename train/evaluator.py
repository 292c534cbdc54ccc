"""The evaluator: parameters scored on held-out documents, during training and after it."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from data.batch import Batch
from data.documents import Documents
from data.modes import Mode
from data.pipeline import eval_batches
from data.tokenizers import Tokenizer
from train.config import Experiment
from train.metrics import add_up, divide, unigram_entropy
from train.objectives import Means
from train.sharding import batch_sharding, place_batch
from train.state import Built, Params
from train.step import cast, make_measure

QUICK_ROWS = 128  # of the held-out rows, at each evaluation during training; the closing one takes them all


class Evaluator:
    """Scores parameters on held-out documents, under each way of corrupting a row that the objective knows."""

    def __init__(self, built: Built, experiment: Experiment, tokenizer: Tokenizer, documents: Documents):
        self._built, self._experiment, self._tokenizer, self._documents = built, experiment, tokenizer, documents
        self._placing = batch_sharding(built.mesh)
        self._measure = jax.jit(make_measure(built.parts, experiment.objective, experiment.compute_dtype))

    def batches(self, mode: Mode, limit_rows: int | None = None) -> Iterator[Batch]:
        """The held-out rows as host batches, corrupted the same way at every call."""
        experiment = self._experiment
        return eval_batches(
            self._documents,
            experiment.data,
            experiment.objective.packing(),
            experiment.objective.corrupt(self._tokenizer, mode=mode),
            seed=experiment.seed,
            batch_size=experiment.data.batch_size,
            limit_rows=limit_rows,
        )

    def quick(self, params: Params) -> Means:
        """The headline figures on the first rows only: a look during training that costs little."""
        mode = self._experiment.objective.modes[0]
        return self._experiment.objective.scores({mode: self._means(params, mode, QUICK_ROWS)})

    def full(self, params: Params) -> Means:
        """Every figure on every held-out row, beside the floors that they should be read against.

        `unigram_entropy` is that of the held-out tokens themselves: the loss of the best guess that ignores the row.
        """
        objective = self._experiment.objective
        scores = objective.scores({mode: self._means(params, mode, None) for mode in objective.modes})
        targets = np.concatenate([objective.targets(batch) for batch in self.batches(objective.modes[0])])
        counts = np.zeros(self._tokenizer.vocab_size, np.int64)
        for index in range(len(self._documents)):
            np.add.at(counts, self._documents.ids(index), 1)
        return scores | {
            "nats_per_byte": scores["valid_loss"] * self._documents.tokens / self._documents.bytes,
            "unigram_entropy": unigram_entropy(counts),
            "held_out_documents": len(self._documents),
            "held_out_targets": len(targets),
        }

    def samples(self, params: Params, rows: int = 6, places: int = 6, guesses: int = 5) -> list[dict[str, Any]]:
        """What the model fills in: a few held-out rows with their hidden words and the likeliest guesses."""
        batch = next(iter(self.batches(self._experiment.objective.modes[0], rows)))
        model = self._built.parts.merge(cast(params, self._experiment.compute_dtype))
        predict = jax.jit(self._experiment.objective.predictions, static_argnums=2)
        probabilities, ids = jax.device_get(predict(model, place_batch(batch, self._placing), guesses))
        token = self._tokenizer.token
        found = []
        for row in range(min(rows, int((batch.segments.max(axis=1) > 0).sum()))):
            length = int((batch.segments[row] > 0).sum())
            asked = np.flatnonzero(batch.labels["masked_weights"][row])[:places]
            found.append(
                {
                    "tokens": [token(int(i)) for i in batch.tokens[row, :length]],
                    "places": [
                        {
                            "token_index": int(batch.labels["masked_places"][row, slot]),
                            "target": token(int(batch.labels["masked_targets"][row, slot])),
                            "predictions": [
                                [token(int(i)), round(float(p), 4)]
                                for i, p in zip(ids[row, slot], probabilities[row, slot], strict=True)
                            ],
                        }
                        for slot in asked
                    ],
                }
            )
        return found

    def _means(self, params: Params, mode: Mode, limit_rows: int | None) -> Means:
        placed = (place_batch(batch, self._placing) for batch in self.batches(mode, limit_rows))
        with jax.set_mesh(self._built.mesh):
            return divide(add_up(self._measure(params, batch) for batch in placed))
