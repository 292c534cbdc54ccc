"""The live display of a run (minimal for now)."""

import sys
from collections.abc import Mapping
from typing import Any, Self, TextIO


class Console:
    """What the user sees while a run goes on; made by `Console.open`, a context manager."""

    @classmethod
    def open(
        cls,
        total_steps: int,
        *,
        title: str = "",
        start_step: int = 0,
        enabled: bool = True,
        stream: TextIO | None = None,
    ) -> Self:
        console = cls()
        console.stream, console.enabled = stream or sys.stderr, enabled
        return console

    def update(self, step: int, scalars: Mapping[str, Any]) -> None:
        """The values of the newest step that is known; cheap, draws a few times a second at most."""

    def evaluation(self, step: int, scores: Mapping[str, Any]) -> None:
        """Held-out scores: kept beside the step, and said in a line that stays."""

    def status(self, text: str) -> None:
        """What is going on while no step comes (compiling, evaluating, saving)."""

    def say(self, text: str) -> None:
        """A sentence that stays."""
        if self.enabled:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was. Closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
