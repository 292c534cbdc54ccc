"""The mistakes of a fine-tuned classifier of which it was surest, for a notebook: text, tinted by what spoke for the answer."""

from dataclasses import dataclass

from markupsafe import Markup

from train.page import FOLDER, asset, fill
from train.predictions import Predictions, surest_mistakes
from train.report_tasks import cut, tinted
from train.run import Run, RunError


@dataclass(frozen=True)
class Mistakes:
    """Some mistakes of a run, the surest first; a notebook shows them as text.

    Attributes:
        found: what the run said of every held-out example.
        numbers: those that are shown, by the number of the example.
    """

    found: Predictions
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, run: Run, most: int = 5, *, longest: int | None = None) -> "Mistakes":
        """The mistakes of a run that has ended; with `longest` only texts of at most so many tokens, of those with attributions.

        RunError where the run has no `predictions.json`.
        """
        found = Predictions.read(run.folder.path)
        if found is None:
            raise RunError(
                f"{run.folder.path} has no predictions.json; only a classifier that was trained to its end has one"
            )
        numbers = surest_mistakes(found.predicted, found.targets, found.probabilities, len(found.targets))
        if longest is not None:
            attributed = found.attributions
            numbers = [at for at in numbers if at in attributed and len(attributed[at].tokens) <= longest]
        return cls(found, tuple(numbers[:most]))

    def __len__(self) -> int:
        return len(self.numbers)

    def text(self, place: int) -> str | tuple[str, ...]:
        """The text of a mistake by its place in this list, or the pair of texts, as `Run.inspect` takes it."""
        texts = self.found.texts[self.numbers[place]]
        return texts[0] if len(texts) == 1 else texts

    def verdict(self, place: int) -> str:
        """What the text is, and what it was taken for."""
        found, number = self.found, self.numbers[place]
        said = found.predicted[number]
        return (
            f"is {found.labels[found.targets[number]]}, "
            f"taken for {found.labels[said]} ({found.probabilities[number, said]:.0%} sure)"
        )

    def __repr__(self) -> str:
        shown = (" | ".join(map(cut, self.found.texts[number])) for number in self.numbers)
        return "\n".join(f"{self.verdict(place)}: {text}" for place, text in enumerate(shown)) or "no mistakes"

    def _repr_html_(self) -> Markup:
        cards = []
        for place, number in enumerate(self.numbers):
            attributed = self.found.attributions.get(number)
            plain = fill("tasks", "apart", [cut(text) for text in self.found.texts[number]])
            cards.append((self.verdict(place), plain if attributed is None else tinted(attributed)))
        return fill("tasks", "mistakes", asset(FOLDER / "mistakes.css"), cards)
