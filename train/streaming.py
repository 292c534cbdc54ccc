"""Text as it is made: pieces that never break a character, and end before a stop string.

What was shown cannot be taken back, so a piece is held until nothing that follows can change it: half a character waits for
its other half, and the beginning of a stop string for its end, or for something else.
"""

from collections.abc import Sequence

from data.tokenizers import Tokenizer
from train.prompts import plain

BROKEN = "\ufffd"  # what half a character decodes to


class Pieces:
    """The text behind a prompt, piece by piece: `push` takes tokens and gives the text that is certain; all pieces together are
    the text.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] = (), stops: Sequence[str] = ()):
        self.tokenizer, self.stops = tokenizer, tuple(stop for stop in stops if stop)
        self.ids = plain(tokenizer, prompt)
        self.before = tokenizer.decode(self.ids) if self.ids else ""
        self.pending = 0  # tokens at the end whose spelling may still change
        self.shown = ""
        self.stopped = False

    @property
    def text(self) -> str:
        """All that is there, shown or not, up to a stop string."""
        return self._cut(self._decoded(self.ids))

    def push(self, tokens: Sequence[int], last: bool = False) -> str:
        """Take more tokens; returns what can be shown now. With `last` nothing follows, and all is shown."""
        if self.stopped:
            return ""
        self.ids += plain(self.tokenizer, tokens)
        self.pending = min(self.pending + len(tokens), self.tokenizer.lag)
        text = self._decoded(self.ids)
        if cut := self._cut(text) != text:
            self.stopped, text = True, self._cut(text)
        elif not last:
            settled = self._decoded(self.ids[: len(self.ids) - self.pending])
            text = text if not self.pending else _common(text, settled)
            text = text.rstrip(BROKEN)
            held = max((n for stop in self.stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
            text = text[: len(text) - held]
        if len(text) <= len(self.shown) and not cut:
            return ""
        piece = text[len(_common(text, self.shown)) :]
        self.shown = text
        return piece

    def _decoded(self, ids: Sequence[int]) -> str:
        """The text behind the prompt. Decoded with the prompt before it, for a space may stand between the two."""
        text = self.tokenizer.decode(ids) if ids else ""
        return text[len(_common(text, self.before)) :]

    def _cut(self, text: str) -> str:
        places = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        return text[: min(places)] if places else text


def _common(a: str, b: str) -> str:
    """What two texts begin with alike.

    >>> _common("abcd", "abd")
    'ab'
    """
    length = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:length]
