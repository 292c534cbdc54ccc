"""Labels and texts that are not there: what counts as none, and what becomes of such examples.

never a label         null, NaN, an empty text: refused, or with `missing="drop"` left out, counted and told
a word for none       nan, null, none, NA, N/A, -, ?, ...: so too, unless `labels` or `spelt` name it, or `missing="class"`
                      says that such words are classes like any other
-1                    where no class is called so; data sets mark parts so that are not labelled
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from data.errors import DataError
from data.tasks.label_names import plain

Policy = Literal["refuse", "drop", "class"]

# Words that tables and published files write where there is no label, as `plain` makes them: pandas, R, SQL, SNLI, CoNLL-U.
WORDS = frozenset(
    ("nan", "null", "none", "nil", "na", "n/a", "n.a.", "<na>", "#n/a", "#na", "undefined", "-", "--", "\u2013", "\u2014", "?",
     ".", "_", "[]", "{}", "()")
)  # fmt: skip
TAG_WORDS = frozenset(("nan", "null", "<na>", "#n/a"))  # others are parts of speech: -, ., NA


class MissingValue(DataError):
    """An example without something that it needs; `what` it is, in words for a count."""

    def __init__(self, message: str, what: str):
        super().__init__(message)
        self.what = what


def is_missing(found: Any) -> bool:
    """Whether a value is none at all: null, NaN, or an empty text.

    >>> is_missing(None), is_missing(float("nan")), is_missing("  "), is_missing(0), is_missing("none")
    (True, True, True, False, False)
    """
    return (
        found is None or (isinstance(found, float) and found != found) or (isinstance(found, str) and not found.strip())
    )


def is_word_for_none(label: str, named: Sequence[str], policy: Policy, words: frozenset[str] = WORDS) -> bool:
    """Whether a label is a word for no label, which nobody names as a class.

    >>> is_word_for_none("NaN", (), "refuse"), is_word_for_none("NA", ("na", "de"), "refuse")
    (True, False)
    """
    return policy != "class" and plain(label) in words and plain(label) not in {plain(name) for name in named}


class Dropped:
    """Examples of a part that are left out, counted by what they lack; `policy` None: of a task that leaves nothing out."""

    def __init__(self, policy: Policy | None, named: str = "held-out"):
        self.policy, self.named = policy, named
        self.seen = 0
        self.first: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.error: DataError | None = None

    def take(self, error: DataError, what: str, place: str) -> None:
        """Count an example that lacks something, or raise the error where such examples are not to be left out."""
        if self.policy is None:
            raise error
        if self.policy != "drop":
            raise DataError(f"{error}; or leave all such examples out with --data.task.missing drop") from None
        self.first.setdefault(what, place)
        self.counts[what] = self.counts.get(what, 0) + 1
        self.error = self.error or error
        if sum(self.counts.values()) == self.seen:
            raise DataError(
                f"--data.task.missing drop leaves no {self.named} example; the first is left out since {self.error}"
            )

    def tell(self, say: Callable[[str], None]) -> None:
        """Say what was left out."""
        if self.counts:
            what = ", ".join(
                f"{count} with {what} (the first: {self.first[what]})" for what, count in self.counts.items()
            )
            say(f"{sum(self.counts.values())} of {self.seen} {self.named} examples are left out: {what}")
