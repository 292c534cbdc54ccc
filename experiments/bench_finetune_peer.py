"""The other side of the bench of fine-tuning: Hugging Face's Trainer, by its usual recipes. Needs torch and transformers 5.

    python -m experiments.bench_finetune_peer FOLDER SEED

Reads train.jsonl, valid.jsonl and settings.json of the folder, and writes peer.json there: what it predicts of each held-out
line, and the seconds of each step. It imports nothing of ours. Labels of tags stand on first sub-words, -100 elsewhere; long
contexts are read in windows, and the best of n spans is chosen as in run_qa.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# pyright: reportMissingImports=false

IGNORED = -100


def main(folder: Path, seed: int) -> None:
    """Train and predict."""
    import torch
    from transformers import AutoTokenizer, Trainer, TrainerCallback, TrainingArguments, set_seed
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(os.cpu_count() or 1)
    settings = json.loads((folder / "settings.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    train, valid = (
        [json.loads(line) for line in (folder / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
        for part in ("train", "valid")
    )
    recipe: Recipe = RECIPES[settings["kind"]](settings, tokenizer)
    set_seed(seed)  # before the head is drawn
    model = recipe.model(torch.float32)
    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *args, **named):
            self.last = time.perf_counter()

        def on_step_end(self, *args, **named):
            now = time.perf_counter()
            seconds.append(now - self.last)
            self.last = now

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=settings["steps"],
        per_device_train_batch_size=settings["batch_size"],
        per_device_eval_batch_size=settings["batch_size"],
        learning_rate=settings["peak"],
        lr_scheduler_type="linear",
        warmup_steps=settings["warmup_steps"],
        weight_decay=settings["weight_decay"],
        adam_epsilon=settings["epsilon"],
        max_grad_norm=settings["clip_norm"],
        seed=seed,
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
    )
    features = recipe.features(train, training=True)

    class Grouping(Trainer):
        """Its own grouping by length goes from the longest rows to the shortest, over and over; this one has no such order."""

        def _get_train_sampler(self, *given: Any) -> Any:
            if settings["grouped"] == 1:
                return super()._get_train_sampler(*given)
            return LikeLengths([len(row["input_ids"]) for row in features], settings, seed)

    trainer = Grouping(
        model=model, args=arguments, train_dataset=features, data_collator=recipe.collator(), callbacks=[Clock()]
    )
    trainer.train()
    shown = recipe.features(valid, training=False)
    predictions = recipe.predict(trainer, shown, valid)
    (folder / "peer.json").write_text(json.dumps({"predictions": predictions, "seconds": seconds}))


class LikeLengths:
    """Rows of like length together: the shuffled rows of so many batches are put in order of length, and these batches shuffled.

    Whoever cuts what comes out into batches gets these; the one that is not full comes last.
    """

    def __init__(self, lengths: Sequence[int], settings: dict[str, Any], seed: int):
        self.lengths, self.size, self.grouped = np.asarray(lengths), settings["batch_size"], settings["grouped"]
        self.random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order, full, part = self.random.permutation(len(self.lengths)), [], []
        for start in range(0, len(order), self.size * self.grouped):
            block = order[start : start + self.size * self.grouped]
            block = block[np.argsort(self.lengths[block], kind="stable")]
            for first in range(0, len(block), self.size):
                batch = block[first : first + self.size]
                (full if len(batch) == self.size else part).append(batch)
        for number in self.random.permutation(len(full)):
            yield from full[number].tolist()
        yield from np.concatenate([*part, []]).astype(int).tolist()


class Recipe:
    """From lines to features, and from logits to predictions."""

    model_class = ""

    def __init__(self, settings: dict[str, Any], tokenizer: Any):
        self.settings, self.tokenizer = settings, tokenizer
        self.labels = settings.get("labels", [])

    def model(self, dtype: Any) -> Any:
        """The published weights under a new head."""
        import transformers

        named = {"num_labels": len(self.labels)} if self.labels else {}
        return getattr(transformers, self.model_class).from_pretrained(self.settings["model"], dtype=dtype, **named)

    def features(self, lines: list[dict[str, Any]], training: bool) -> list[dict[str, Any]]:
        """Rows of ids, with their labels."""
        raise NotImplementedError

    def predict(self, trainer: Any, features: list[dict[str, Any]], lines: list[dict[str, Any]]) -> list[Any]:
        """What the model says of each line."""
        raise NotImplementedError

    def collator(self) -> Any:
        """Rows of a batch padded to the longest of them, rounded up."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(self.tokenizer, pad_to_multiple_of=self.settings["bucket"])

    def logits(self, trainer: Any, features: list[dict[str, Any]]) -> list[tuple[np.ndarray, ...]]:
        """The outputs of each row, whatever the length that its batch is padded to."""
        import torch

        model, size = trainer.model.eval(), self.settings["batch_size"]
        kept = ("input_ids", "attention_mask", "token_type_ids")
        found: list[tuple[np.ndarray, ...]] = []
        with torch.no_grad():
            for start in range(0, len(features), size):
                rows = [{name: row[name] for name in kept} for row in features[start : start + size]]
                padded = self.tokenizer.pad(rows, pad_to_multiple_of=self.settings["bucket"], return_tensors="pt")
                output = model(**padded)
                names = ("start_logits", "end_logits") if hasattr(output, "start_logits") else ("logits",)
                found += list(zip(*(getattr(output, name).numpy() for name in names), strict=True))
        return found


class Classify(Recipe):
    """A class for a sentence."""

    model_class = "AutoModelForSequenceClassification"

    def features(self, lines: list[dict[str, Any]], training: bool) -> list[dict[str, Any]]:
        encoded = self.tokenizer(
            [line["sentence"] for line in lines], truncation=True, max_length=self.settings["row_length"]
        )
        return [
            {name: encoded[name][at] for name in encoded} | {"labels": self.labels.index(line["label"])}
            for at, line in enumerate(lines)
        ]

    def predict(self, trainer: Any, features: list[dict[str, Any]], lines: list[dict[str, Any]]) -> list[str]:
        return [self.labels[int(row[0].argmax())] for row in self.logits(trainer, features)]


class Tag(Recipe):
    """A tag for each word, on its first sub-word."""

    model_class = "AutoModelForTokenClassification"

    def collator(self) -> Any:
        from transformers import DataCollatorForTokenClassification

        return DataCollatorForTokenClassification(self.tokenizer, pad_to_multiple_of=self.settings["bucket"])

    def features(self, lines: list[dict[str, Any]], training: bool) -> list[dict[str, Any]]:
        encoded = self.tokenizer(
            [line["tokens"] for line in lines],
            is_split_into_words=True,
            truncation=True,
            max_length=self.settings["row_length"],
        )
        found = []
        for at, line in enumerate(lines):
            words = encoded.word_ids(at)
            first = [word is not None and word != before for before, word in zip([None, *words], words, strict=False)]
            tags = [
                self.labels.index(line["tags"][word]) if new else IGNORED
                for word, new in zip(words, first, strict=True)
            ]
            found.append({name: encoded[name][at] for name in encoded} | {"labels": tags})
        return found

    def predict(self, trainer: Any, features: list[dict[str, Any]], lines: list[dict[str, Any]]) -> list[list[str]]:
        found = []
        for (logits,), line in zip(self.logits(trainer, features), lines, strict=True):
            words = self.tokenizer(
                line["tokens"], is_split_into_words=True, truncation=True, max_length=self.settings["row_length"]
            ).word_ids()
            tags = ["O"] * len(line["tokens"])  # also of words behind the end of the row
            for place in reversed(range(len(words))):  # the first sub-word has the last say
                if words[place] is not None:
                    tags[words[place]] = self.labels[int(logits[place].argmax())]
            found.append(tags)
        return found


class Answer(Recipe):
    """The start and the end of an answer, or the first token for none."""

    model_class = "AutoModelForQuestionAnswering"

    def features(self, lines: list[dict[str, Any]], training: bool) -> list[dict[str, Any]]:
        encoded = self.tokenizer(
            [line["question"].lstrip() for line in lines],
            [line["context"] for line in lines],
            truncation="only_second",
            max_length=self.settings["row_length"],
            stride=self.settings["stride"],
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        found = []
        for at, owner in enumerate(encoded["overflow_to_sample_mapping"]):
            row = {name: encoded[name][at] for name in ("input_ids", "attention_mask", "token_type_ids")}
            inside = [kind == 1 for kind in encoded.sequence_ids(at)]
            offsets = encoded["offset_mapping"][at]
            if training:
                row["start_positions"], row["end_positions"] = place(lines[owner]["answers"], offsets, inside)
            else:
                row |= {"owner": owner, "offsets": [o if ok else None for o, ok in zip(offsets, inside, strict=True)]}
            found.append(row)
        return found

    def predict(
        self, trainer: Any, features: list[dict[str, Any]], lines: list[dict[str, Any]]
    ) -> list[tuple[str, str, float]]:
        scores = self.logits(trainer, features)
        windows: list[list[int]] = [[] for _ in lines]
        for at, feature in enumerate(features):
            windows[feature["owner"]].append(at)
        return [
            best_of(
                [(scores[at][0], scores[at][1], features[at]["offsets"]) for at in mine], line["context"], self.settings
            )
            for mine, line in zip(windows, lines, strict=True)
        ]


def place(answers: list[dict[str, Any]], offsets: list[tuple[int, int]], inside: list[bool]) -> tuple[int, int]:
    """The tokens of a window where the first answer begins and ends; 0 and 0 where it does not lie in it whole."""
    if not answers:
        return 0, 0
    begin = answers[0]["answer_start"]
    end = begin + len(answers[0]["text"])
    first, last = inside.index(True), len(inside) - 1 - inside[::-1].index(True)
    if offsets[first][0] > begin or offsets[last][1] < end:
        return 0, 0
    while first < len(offsets) and offsets[first][0] <= begin:
        first += 1
    while offsets[last][1] >= end:
        last -= 1
    return first - 1, last + 1


def best_of(
    windows: list[tuple[np.ndarray, np.ndarray, list[tuple[int, int] | None]]], context: str, settings: dict[str, Any]
) -> tuple[str, str, float]:
    """The text of the best span of all windows, or nothing where the first tokens score more (run_qa, version 2); that text in
    any case; and how much more they score."""
    null = min(float(start[0] + end[0]) for start, end, _ in windows)
    spans = []
    for start, end, offsets in windows:
        for first in np.argsort(start)[-1 : -settings["best"] - 1 : -1].tolist():
            for last in np.argsort(end)[-1 : -settings["best"] - 1 : -1].tolist():
                if max(first, last) >= len(offsets) or offsets[first] is None or offsets[last] is None:
                    continue
                if first <= last < first + settings["max_answer"]:
                    spans.append((float(start[first] + end[last]), offsets[first][0], offsets[last][1]))
    spans = [(score, begin, stop) for score, begin, stop in sorted(spans, reverse=True) if context[begin:stop]]
    if not spans:
        return "", "", 1e9
    score, begin, stop = spans[0]
    text = context[begin:stop]
    return "" if null > score else text, text, null - score


RECIPES = {"classification": Classify, "tagging": Tag, "answers": Answer}

if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
