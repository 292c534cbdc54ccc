"""Scores of written texts: BLEU and chrF by sacrebleu, ROUGE by rouge-score, exact match; and of a language model's losses.

BLEU and chrF are out of 100, as they are published, and come with the signature without which the number means nothing. ROUGE and
exact match are shares of 1. Every reference of a text counts: BLEU and chrF as sacrebleu has them, ROUGE as the
best reference by f1, exact match as any. A text that is its reference scores 1 (100) in every language.
References: Post, arXiv:1804.08771; Popovic, W15-3049; Lin, W04-1013.
"""

import math
from collections import Counter
from collections.abc import Sequence

from data.sentences import split_sentences
from train.metric_tokens import (
    bleu_tokenizer,
    characters,
    english_and_other_words,
    loses,
    rouge_tokenizer,
    tokenize_by,
    unicode_words,
)
from train.task_metrics import METRICS, MetricError, check_metrics

SACREBLEU = ("bleu", "chrf")
ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def generation_scores(
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    metrics: Sequence[str] | None = None,
    *,
    tokenizer: str = "auto",
) -> tuple[dict[str, float], dict[str, str]]:
    """The scores of written texts, and how each was counted: sacrebleu's signatures, and the settings of ROUGE.

    Args:
        texts: what was written.
        references: for each text those that it is compared with, one or more; their number may differ.
        tokenizer: one of sacrebleu's by name, for BLEU and ROUGE; "auto" fits it to the script of the references.

    >>> scores, signatures = generation_scores(["the cat sat on the mat"], [["the cat sat on the mat"]])
    >>> round(scores["bleu"], 3), scores["rougeL"], signatures["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a")
    (100.0, 1.0, True)
    """
    names = METRICS["generation"] if metrics is None else check_metrics("generation", metrics)
    _check(texts, references)
    scores, signatures = {}, {}
    for name in (name for name in names if name in SACREBLEU):
        scores[name], signatures[name] = sacrebleu_score(name, texts, references, tokenizer=tokenizer)
    if asked := [name for name in names if name in ROUGE]:
        found, signatures["rouge"] = _rouge(texts, references, asked, tokenizer)
        scores |= found
    if "exact_match" in names:
        scores["exact_match"] = text_exact_match(texts, references)
    return {name: scores[name] for name in names}, signatures


def sacrebleu_score(
    name: str, texts: Sequence[str], references: Sequence[Sequence[str]], *, tokenizer: str = "auto"
) -> tuple[float, str]:
    """BLEU or chrF2 of a whole corpus, out of 100, and sacrebleu's signature.

    BLEU counts up to four tokens together. Where no reference has as many it would be 0 whatever was written, so the longer ones
    are left out, as eff:yes in the signature says.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if name == "bleu":
        every = [text for several in references for text in several]
        metric = BLEU(tokenize=bleu_tokenizer(tokenizer, every))
        if not any(len(metric.tokenizer(text).split()) >= metric.max_ngram_order for text in every):
            metric = BLEU(tokenize=bleu_tokenizer(tokenizer, every), effective_order=True)
    else:
        metric = CHRF()
    most = max(len(several) for several in references)
    streams = [[several[at] if at < len(several) else None for several in references] for at in range(most)]
    score = metric.corpus_score(list(texts), streams).score  # pyright: ignore  (None: fewer references, as documented)
    return float(score), str(metric.get_signature())


def rouge_scores(
    texts: Sequence[str], references: Sequence[Sequence[str]], names: Sequence[str] = ROUGE, *, tokenizer: str = "auto"
) -> dict[str, float]:
    """Mean f1 of n-grams (rouge1, rouge2) or longest common subsequences (rougeL; rougeLsum sentence by sentence).

    rougeLsum takes the lines of a text for its sentences; a text of one line is cut into sentences first. A text that would lose
    words among English ones, or its references would, is compared in the words of any script; one of which nothing would be
    left, in its characters. One token has no pairs: there rouge2 is whether texts have the same tokens, but for English, where
    it is 0 as published. rouge-score still differs from ROUGE-1.5.5 in the third decimal.
    """
    return _rouge(texts, references, names, tokenizer)[0]


def _rouge(
    texts: Sequence[str], references: Sequence[Sequence[str]], names: Sequence[str], tokenizer: str
) -> tuple[dict[str, float], str]:
    """ROUGE, and how it was counted: a text that the tokenizer of the others does not fit has one that does."""
    from rouge_score.rouge_scorer import RougeScorer

    chosen = rouge_tokenizer(tokenizer, (text for several in references for text in several))
    ways = {chosen: tokenize_by(chosen), "unicode": unicode_words, "char": characters}
    ways["english+unicode"] = english_and_other_words
    scorers = {name: RougeScorer(list(names), tokenizer=_Tokenizer(way)) for name, way in ways.items()}
    total, others = dict.fromkeys(names, 0.0), Counter()
    for text, several in zip(texts, references, strict=True):
        used = "english+unicode" if chosen == "english" and any(map(loses, [text, *several])) else chosen
        used = next((name for name in (used, "unicode", "char") if any(map(ways[name], several))), used)
        found = scorers[used].score_multi([on_lines(reference) for reference in several], on_lines(text))
        for name in names:
            total[name] += found[name].fmeasure
        if "rouge2" in names and used != "english" and (ours := ways[used](text)) and len(ours) < 2:
            total["rouge2"] += any(ways[used](reference) == ours for reference in several)
        others[used] += used != chosen
    fitted = "".join(f",{name}:{others[name]}/{len(texts)}" for name in sorted(+others))
    stems = "yes" if chosen == "english" else "no"
    signature = f"stems:{stems}|tok:{chosen}{fitted}|refs:best|mean|{_version('rouge-score')}"
    return {name: float(total[name] / len(texts)) for name in names}, signature


class _Tokenizer:
    """What rouge-score asks of a tokenizer."""

    def __init__(self, tokenize):
        self.tokenize = tokenize


def on_lines(text: str) -> str:
    """A text with its sentences on lines of their own; one that has lines already stays as it is.

    >>> on_lines("It is late. Go home.")
    'It is late.\\nGo home.'
    """
    if "\n" in text.strip():
        return text
    return "\n".join(sentence.strip() for sentence in split_sentences(text))


def text_exact_match(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The share of texts that are one of their references, white space at the ends aside."""
    right = [text.strip() in {one.strip() for one in several} for text, several in zip(texts, references, strict=True)]
    return sum(right) / len(right)


def perplexity(nats: float, tokens: float) -> float:
    """e to the mean negative log-likelihood: among how many tokens it is as if to choose.

    >>> round(perplexity(math.log(8) * 10, 10), 6)
    8.0
    """
    if tokens <= 0:
        raise MetricError("a perplexity is a mean over tokens, and there are none")
    return math.exp(min(nats / tokens, 700.0))


def bits_per_byte(nats: float, byte_count: float) -> float:
    """Negative log-likelihood in bits over the bytes of the text in UTF-8: comparable between vocabularies.

    >>> bits_per_byte(math.log(2) * 24, 8)
    3.0
    """
    if byte_count <= 0:
        raise MetricError("bits per byte are a mean over bytes, and there are none")
    return nats / math.log(2) / byte_count


def _check(texts: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(texts) != len(references):
        raise MetricError(f"there are {len(texts)} texts and references for {len(references)}; give some for each")
    if not texts:
        raise MetricError("there are no texts to score; the data set is empty")
    for at, several in enumerate(references):
        if isinstance(several, str) or not several:
            raise MetricError(f"text {at} needs a list of one reference or more, not {several!r}"[:200])


def _version(package: str) -> str:
    from importlib.metadata import version

    return f"v:{version(package)}"
