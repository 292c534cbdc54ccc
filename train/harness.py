"""The door to lm-evaluation-harness (the extra `eval`): any opened model under its tasks.

import lm_eval
from train.harness import LoupeLM
lm_eval.simple_evaluate(model=LoupeLM.open("runs/gpt2_tiny"), tasks=["hellaswag"], num_fewshot=0)

python -m train.evaluate runs/gpt2_tiny --harness hellaswag does the same. Likelihoods are those of train/likelihood.py: a text is
encoded whole and parted at the boundary, contexts that are too long lose their beginning, batches are padded to few lengths.
A masked language model answers with pseudo-log-likelihoods, and neither writes nor scores whole texts.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.sampling import Sampling
from train.likelihood import Request, Scorer
from train.pretrained import Opened, open_any
from train.writing import write

try:
    from lm_eval.api.model import TemplateLM  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise ImportError("the harness is not installed; pip install -e '.[eval]'") from error

MOST_NEW_TOKENS, TOGETHER = (
    256,
    16,
)  # tokens written where a task does not say, as the harness has it; prompts in a batch
DRAWING = ("top_k", "top_p", "min_p", "repetition_penalty")


class HarnessError(ValueError):
    """What the harness cannot do; the message is one line with the remedy."""

    exit_code = 2


class LoupeLM(TemplateLM):
    """A run or a published model, as the harness wants one."""

    def __init__(self, opened: Opened):
        super().__init__()
        self.opened, self.scorer = opened, Scorer(opened)
        self.backend = "seq2seq" if self.scorer.two_sided else "causal"

    @classmethod
    def open(cls, path: str, *, step: int | None = None, mesh: str = "") -> "LoupeLM":
        """Open a run folder, or a published one, as `train.pretrained.open_any` does."""
        return cls(open_any(path, step=step, mesh=mesh))

    @property
    def tokenizer_name(self) -> str:
        """What tells apart requests that were kept between evaluations."""
        return f"{self.opened.name}-{self.scorer.tokenizer.fingerprint}"

    @property
    def max_length(self) -> int:
        """Tokens that the model reads at once, or as many as a row had in training."""
        return self.scorer.room or self.scorer.row_length

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        special = self.scorer.tokenizer.special
        for index in (*self.scorer.manner.stops, special.eos, special.sep):
            if index is not None:
                return int(index)
        return self.prefix_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token that a text without a context stands behind."""
        if self.scorer.prefix is None:
            raise HarnessError(
                f"the vocabulary of {self.opened.name} has no token that begins or ends a text; give it one to stand behind"
            )
        return self.scorer.prefix

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Ids of a text; unless told otherwise with the marks that the model was trained to see around it, none twice.

        Special tokens that the text spells are what it means.
        """
        ids, manner = self.scorer.tokenizer.encode_marked(string).tolist(), self.scorer.manner
        if add_special_tokens is False:
            return ids
        opening, closing = list(manner.opening), list(manner.closing)
        if opening and ids[: len(opening)] == opening:
            opening = []
        if closing and ids[len(ids) - len(closing) :] == closing:
            closing = []
        return [*opening, *ids, *closing]

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        """Log-likelihood and greediness of each (texts, context ids, continuation ids)."""
        asked = [Request(np.array(context, np.int32), np.array(scored, np.int32)) for _, context, scored in requests]
        answers = [(found.nats, found.greedy) for found in self.scorer.score(asked)]
        for (texts, _context, _scored), answer in zip(requests, answers, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answer)
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, in windows that share no scored token."""
        asked, owner = [], []
        for number, request in enumerate(requests):
            ids = np.array(self.tok_encode(request.args[0], add_special_tokens=False), np.int32)
            windows = self.scorer.windows(ids, self.max_length) if len(ids) else []
            asked += windows
            owner += [number] * len(windows)
        totals = [0.0] * len(requests)
        for number, found in zip(owner, self.scorer.score(asked), strict=True):
            totals[number] += found.nats
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes behind each context, cut before the first stop string."""
        texts = [""] * len(requests)
        contexts = [np.array(self.tok_encode(request.args[0]), np.int32) for request in requests]
        groups: dict[str, list[int]] = {}
        for number in sorted(range(len(requests)), key=lambda n: -len(contexts[n])):
            groups.setdefault(repr(sorted(requests[number].args[1].items())), []).append(number)
        for members in groups.values():
            most, stop, sampling = manner_of_writing(requests[members[0]].args[1])
            room = self.max_length if self.scorer.two_sided else self.max_length - most
            if room < 1:
                raise HarnessError(
                    f"the task lets {most} tokens be written, and {self.opened.name} reads {self.max_length} at once; lower the "
                    "task's max_gen_toks"
                )
            for begin in range(0, len(members), TOGETHER):
                some = members[begin : begin + TOGETHER]
                prompts = [contexts[number][-room:] for number in some]
                written = write(self.opened, prompts, max_new_tokens=most, sampling=sampling, stop=stop)
                for number, (one, *_) in zip(some, written, strict=True):
                    texts[number] = one.text
                    self.cache_hook.add_partial("generate_until", requests[number].args, one.text)
        return texts


def manner_of_writing(options: dict[str, Any]) -> tuple[int, list[str], Sampling]:
    """How many tokens, before which strings, and how they are drawn, from the options of a task of the harness."""
    options = dict(options)
    until = options.pop("until", None) or []
    stop = [until] if isinstance(until, str) else [text for text in until if text]
    lengths = [options.pop(name, None) for name in ("max_gen_toks", "max_new_tokens", "max_tokens")]
    most = next((int(value) for value in lengths if value is not None), MOST_NEW_TOKENS)
    temperature, draws = options.pop("temperature", None), options.pop("do_sample", None)
    temperature = (1.0 if draws else 0.0) if temperature is None else float(temperature)
    temperature = 0.0 if draws is not None and not draws else temperature
    if (options.get("top_k") or 0) < 1:
        options.pop("top_k", None)  # 0 and -1 keep every token there
    chosen = {name: options[name] for name in DRAWING if options.get(name) is not None} if temperature else {}
    return most, stop, Sampling(temperature, **chosen)


def harness_scores(
    opened: Opened, tasks: str | Sequence[Any], *, shots: int | None = None, limit: int | None = None, seed: int = 0
) -> dict[str, float]:
    """Flat scores of tasks of the harness, named as ours: acc_hellaswag_0_shot, acc_norm_hellaswag_0_shot, ...

    Args:
        tasks: names with commas between, or what else the harness takes for tasks, as dicts of their settings.
        shots: None: as many as each task wants.

    The harness looks for the data of its tasks itself.
    """
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    names = [name.strip() for name in tasks.split(",") if name.strip()] if isinstance(tasks, str) else list(tasks)
    manager = TaskManager()
    for name in names:
        if isinstance(name, str) and name not in manager.all_tasks:
            raise HarnessError(f"the harness has no task {name!r}; python -m lm_eval ls tasks lists them")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    try:
        found = simple_evaluate(
            model=LoupeLM(opened),
            tasks=names,
            num_fewshot=shots,
            limit=limit,
            task_manager=manager,
            log_samples=False,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=None,  # pyright: ignore  (nothing here draws from torch)
            fewshot_random_seed=seed,
        )
    except (OSError, ConnectionError) as error:
        raise HarnessError(
            f"the data of {tasks} could not be had ({type(error).__name__}: {' '.join(str(error).split())[:160]}); fetch it "
            "where there is a network, or score local files with --tasks"
        ) from error
    assert found is not None
    return flat(found)


def flat(found: dict[str, Any]) -> dict[str, float]:
    """The harness's results as one level of names."""
    scores: dict[str, float] = {}
    for task, values in found["results"].items():
        shots = found.get("n-shot", {}).get(task, 0)
        for key, value in values.items():
            metric, _, way = key.partition(",")
            if isinstance(value, int | float) and not isinstance(value, bool) and way:
                scores[f"{metric}{'' if way == 'none' else f'_{way}'}_{task}_{shots}_shot"] = float(value)
    return scores
