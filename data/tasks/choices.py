"""The kinds of task: which columns it reads, what is asked about them, and how that is scored. One frozen choice each.

A column has several names where files disagree: of `("sentence", "content", "text")` a file has the first that it has.
`template` makes one text of several columns, as in "{premise} {hypothesis}", and may name any column of the source.
`prompt` and `answers` put the same question to a language model in words, an answer for each label.
"""

import string
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from data.errors import DataError
from data.tasks.label_names import bare, canonical, numeral, plain, shown
from data.tasks.metric_names import check_metrics
from data.tasks.missing import Policy
from data.tasks.tag_schemes import GRAMMARS, NAMES, spelling_of

Names: TypeAlias = tuple[str, ...]

SchemeName: TypeAlias = Literal[
    "auto", "IOB1", "IOB2", "BIO", "IOE1", "IOE2", "IO", "IOBES", "BIOES", "BILOU", "BMES", "BMEWO", "BIOS", "IOBE"
]
# How answers and texts are scored is no part of what the data is, so it does not stand in the repr, nor in a fingerprint.
AnswerScoring: TypeAlias = Literal[
    "auto", "squad", "unicode", "cmrc2018", "mlqa-en", "mlqa-es", "mlqa-de", "mlqa-ar", "mlqa-vi", "mlqa-hi", "mlqa-zh"
]
MetricTokenizer: TypeAlias = Literal["auto", "13a", "intl", "zh", "char", "ja-mecab", "ko-mecab", "none"]
LABELS_COLUMN: Names = ("label", "labels", "class")


@dataclass(frozen=True)
class Classification:
    """One class of several for a text, or for a pair of texts where `second` names columns."""

    text: Names = ("sentence", "content", "text")
    second: Names = ()
    label: Names = LABELS_COLUMN
    labels: Names | None = None
    """Names of the classes in the order of their numbers; None: those of the training examples, sorted."""
    spelt: Names = ()
    """How files write them in that order, where neither by name (case and punctuation aside) nor as numbers from 0."""
    template: str | None = None
    prompt: str | None = None
    answers: Names = ()
    metrics: Names = ("accuracy",)
    missing: Policy = field(default="refuse", repr=False)
    """What becomes of an example without a label, a text or a cell: "refuse", "drop" (counted and told), or "class", where
    words for none, such as none and NA, are classes like any other."""

    def __post_init__(self):
        check_metrics("Classification", self.metrics)
        _check_labels(self.labels, self.spelt, self.answers)
        _check_named(text=self.text, label=self.label)
        _check_templates(self.template, self.prompt)


@dataclass(frozen=True)
class MultiLabel:
    """Any number of classes for a text: a list in JSON, or words with `separator` between them in a table."""

    text: Names = ("sentence", "content", "text")
    second: Names = ()
    label: Names = LABELS_COLUMN
    labels: Names | None = None
    spelt: Names = ()
    separator: str = ","
    template: str | None = None
    metrics: Names = ("micro_f1", "macro_f1")
    missing: Policy = field(default="refuse", repr=False)
    """As in `Classification`."""

    def __post_init__(self):
        check_metrics("MultiLabel", self.metrics)
        _check_labels(self.labels, self.spelt, ())
        _check_named(text=self.text, label=self.label)
        _check_templates(self.template)
        if not self.separator:
            raise DataError("separator='' separates nothing; use a mark such as ,")


@dataclass(frozen=True)
class Regression:
    """A number for a text or a pair of texts."""

    text: Names = ("sentence", "sentence1", "content", "text")
    second: Names = ()
    target: Names = ("label", "score", "target")
    template: str | None = None
    metrics: Names = ("pearson", "spearman")
    missing: Policy = field(default="refuse", repr=False)
    """As in `Classification`."""

    def __post_init__(self):
        check_metrics("Regression", self.metrics)
        _check_named(text=self.text, target=self.target)
        _check_templates(self.template)


@dataclass(frozen=True)
class Tagging:
    """A tag for each word, put on its first sub-word (Devlin et al., arXiv:1810.04805, section 5.3).

    The words of an example are joined by `joiner` and tokenised as the text that they are; `joiner=""` for Chinese, where
    each character is a word. `scheme` says what the letters of tags mean (data/tasks/tag_schemes.py): "auto" finds it in the
    training examples, and a part in another scheme than the task's is rewritten; None for tags that are no spans, such as
    parts of speech.
    """

    words: Names = ("tokens", "words")
    tags: Names = ("ner_tags", "tags")
    labels: Names | None = None
    spelt: Names = field(default=(), repr=False)
    """How files write the labels in their order, where neither by name nor as numbers from 0."""
    scheme: SchemeName | None = "auto"
    prefix: str = ""
    """What stands before each word of a file and is taken away, such as "en:"."""
    joiner: str = " "
    metrics: Names = ("f1_strict", "f1")
    missing: Policy = field(default="refuse", repr=False)
    """As in `Classification`."""

    def __post_init__(self):
        check_metrics("Tagging", self.metrics)
        _check_labels(self.labels, self.spelt, ())
        _check_named(words=self.words, tags=self.tags)
        if self.scheme is None and any(metric.startswith("f1") for metric in self.metrics):
            raise DataError("seqeval scores spans, and tags without a scheme are none; name --data.task.scheme auto, "
                            "or use the metric accuracy")  # fmt: skip
        if self.scheme not in (None, "auto", "IO") and self.labels is not None:
            check_tags(self.labels, self.scheme)


@dataclass(frozen=True)
class Answers:
    """The answer to a question as a span of its context, or none.

    A long context is read in windows. The prediction is the best of all windows under the published rule: see
    `data.tasks.best_spans`.
    """

    question: Names = ("question",)
    context: Names = ("context",)
    golds: Names = ("answers",)
    max_question: int = 64
    """Tokens of a question; what follows is cut."""
    max_answer: int = 30
    """Tokens of an answer."""
    best: int = 20
    """Starts and ends of each window that are tried together."""
    no_answer: bool = False
    """Whether a question may have none (SQuAD 2.0)."""
    null_threshold: float = 0.0
    """How much better than the best span no answer must score."""
    strict: bool = False
    """Whether an answer that is not where the source says, or an empty question, is an error; otherwise it is left out of
    training, counted and told."""
    metrics: Names = ("exact_match", "f1")
    scoring: AnswerScoring = field(default="auto", repr=False)
    """Whose script counts exact match and f1; auto: CMRC 2018's for scripts that write no spaces, else SQuAD's."""

    def __post_init__(self):
        check_metrics("Answers", self.metrics)
        _check_named(question=self.question, context=self.context, golds=self.golds)
        for name in ("max_question", "max_answer", "best"):
            if getattr(self, name) < 1:
                raise DataError(f"{name}={getattr(self, name)} is too small; use 1 or more")


@dataclass(frozen=True)
class MultipleChoice:
    """The right one of several endings of a text. One column with a list of them, or a column each."""

    text: Names = ("text", "premise", "ctx", "sentence")
    second: Names = ()
    """Between the text and the ending, as a question is."""
    choices: Names = ("choices", "endings")
    """One or more names of a column with a list; where a source has no list, all these columns, one a choice."""
    label: Names = LABELS_COLUMN
    spelt: Names = ()
    """How files write the first choice, the second, ..., where not as numbers from 0, as letters or by their text."""
    prompt: str | None = None
    metrics: Names = ("accuracy",)
    missing: Policy = field(default="refuse", repr=False)
    """As in `Classification`."""

    def __post_init__(self):
        check_metrics("MultipleChoice", self.metrics)
        check_spelt(self.spelt)
        _check_named(text=self.text, choices=self.choices, label=self.label)
        _check_templates(self.prompt)


@dataclass(frozen=True)
class Similarity:
    """Texts that mean the same lie near each other (Gao et al., arXiv:2104.08821).

    Without `positive`, or in a training part without such a column, a text is its own, read twice under another dropout.
    `score` is what the similarity of text and positive is compared with on the held-out part; accuracy is that of finding
    the positive among those of a batch.
    """

    text: Names = ("text", "sentence", "sentence1", "anchor")
    positive: Names = ()
    negative: Names = ()
    score: Names = ()
    metrics: Names = ("accuracy",)
    missing: Policy = field(default="refuse", repr=False)
    """As in `Classification`."""

    def __post_init__(self):
        check_metrics("Similarity", self.metrics)
        _check_named(text=self.text)
        if not self.score and (compared := [metric for metric in self.metrics if metric != "accuracy"]):
            raise DataError(f"{compared[0]} compares similarities with a score; name its column with --data.task.score, or use "
                            "the metric accuracy")  # fmt: skip
        if not self.positive and (self.negative or self.score):
            raise DataError("negatives and scores belong to pairs; name the column of --data.task.positive too")


@dataclass(frozen=True)
class Generation:
    """A text for a text: summaries, translations, answers in a dialogue.

    `template` is what the model reads, as in "summarize: {source}". With `sides="two"` that is what an encoder reads;
    with "one" a decoder reads it and goes on with the target, and only the target is asked for. A source that is a list of
    messages, each with role and content, is put together by `message`, and its last one is the target.
    """

    source: Names = ("source", "document", "article", "dialogue", "text")
    target: Names = ("target", "summary", "highlights")
    references: Names = ()
    """Further columns with references, which scores look at and training does not; "summary2?" may be in no file."""
    template: str = "{source}"
    message: str = "{role}: {content}\n"
    sides: Literal["two", "one"] = "two"
    target_length: int | None = None
    """Tokens of a target with its end; None: as many as a row has, or with one side half of it."""
    prompt: str | None = None
    metrics: Names = ("rouge1", "rouge2", "rougeL")
    metric_tokenizer: MetricTokenizer = field(default="auto", repr=False)
    """How BLEU and ROUGE split texts, by sacrebleu's names; auto fits the script of the references."""
    missing: Policy = field(default="refuse", repr=False)
    """As in `Classification`."""

    def __post_init__(self):
        check_metrics("Generation", self.metrics)
        _check_named(source=self.source, target=self.target)
        _check_templates(self.template, self.message, self.prompt)
        if "source" not in names_in(self.template) and not set(self.source) & set(names_in(self.template)):
            raise DataError(
                f"template={self.template!r} does not read the source; write {{source}} where it is to stand"
            )
        if self.target_length is not None and self.target_length < 2:
            raise DataError(f"target_length={self.target_length} is too small; use 2 or more")


Task: TypeAlias = (
    Classification | MultiLabel | Regression | Tagging | Answers | MultipleChoice | Similarity | Generation
)


def check_tags(labels: Names, scheme: str) -> None:
    """DataError for a tag that a scheme does not know; tags are O, or a letter and a type with a mark between.

    >>> check_tags(("O", "B-PER", "E-PER"), "BIO")
    Traceback (most recent call last):
    data.errors.DataError: the tag E-PER does not belong to the scheme BIO (O, B-TYPE, I-TYPE); name another --data.task.scheme
    """
    grammar, letters = NAMES[scheme]
    spelling = spelling_of(labels)
    for label in labels:
        tag = None if spelling is None else spelling.read(label)
        if tag is None or tag.letter not in "O" + GRAMMARS[grammar].letters:
            shape = ", ".join(["O", *(f"{letters.get(letter, letter)}-TYPE" for letter in GRAMMARS[grammar].letters)])
            raise DataError(f"the tag {label} does not belong to the scheme {scheme} ({shape}); name another "
                            "--data.task.scheme")  # fmt: skip


def check_spelt(spelt: Names) -> None:
    """DataError for words of which one stands for two classes, or for none.

    >>> check_spelt(("1", "2", "1.0"))
    Traceback (most recent call last):
    data.errors.DataError: spelt 1, 2, 1.0 has a word twice, or an empty one; write one word a label, each once
    """
    words = [word.strip() if numeral(word) is None else plain(word) for word in spelt]
    if len(set(words)) < len(words) or not all(words):
        raise DataError(
            f"spelt {', '.join(spelt)} has a word twice, or an empty one; write one word a label, each once"
        )


def _check_labels(labels: Names | None, spelt: Names, answers: Names) -> None:
    forms = [name.strip() if numeral(name) is None else plain(name) for name in map(canonical, labels or ())]
    if labels is not None and (len(set(forms)) < len(forms) or len(forms) < 2 or not all(forms)):
        raise DataError(f"labels {shown(labels) or '()'} are too few, or one is empty or named twice (but for spaces, the form "
                        "of its letters or 1.0 for 1); name at least two, each once")  # fmt: skip
    for name, given in (("spelt", spelt), ("answers", answers)):
        if given and (labels is None or len(given) != len(labels)):
            raise DataError(f"{name} has {len(given)} words for {'no' if labels is None else len(labels)} labels; name "
                            "--data.task.labels, and one word a label")  # fmt: skip
    check_spelt(spelt)
    for word, label in zip(spelt, labels or (), strict=False):
        others = [name for name in labels or () if name != label and bare(name) == bare(word)]
        if others and numeral(word) is None:  # a number is no name that means something
            raise DataError(f"spelt writes {word} for {label}, and {others[0]} is another label; write one word a label in the "
                            f"order {shown(labels or (), 6)}, or leave it out: labels are found by their names")  # fmt: skip


def _check_named(**columns: Names) -> None:
    for name, names in columns.items():
        if not names or not all(names):
            raise DataError(
                f"{name} names no column; write the column of your file, such as --data.task.{name} \"('text',)\""
            )


def names_in(template: str | None) -> list[str]:
    """The names in braces of a template, each once.

    >>> names_in("{premise} So {hypothesis}, as {premise}")
    ['premise', 'hypothesis']
    """
    parsed = string.Formatter().parse(template or "")
    return list(dict.fromkeys(name for _, name, _, _ in parsed if name is not None))


def _check_templates(*templates: str | None) -> None:
    for template in templates:
        try:
            names = names_in(template)
        except ValueError as error:
            raise DataError(
                f"the template {template!r} cannot be read ({error}); write {{column}}, and {{{{ for a brace"
            ) from error
        if not all(name.isidentifier() for name in names):
            raise DataError(
                f"the template {template!r} has braces without the name of a column; write {{column}} in each"
            )
