"""What the data floor says when the user's input is at fault: one line, with the remedy."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from data.foreign import one_line


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """A disk that is full, or breaks, while a file is being written does not say which file: inside, errors do."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


class DataError(ValueError):
    """Bad input, told in one line: what is wrong, where, and what to do about it.

    Commands print the line and stop with exit code 2; a traceback would only bury it.

    >>> raise DataError("no documents\\nhere")
    Traceback (most recent call last):
    data.errors.DataError: no documents here
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


class NotPrepared(DataError):
    """The source is too large to be prepared in passing: a command must be run first.

    `arguments` are what follows `--exp=NAME` in that command. The data floor does not know the name of the
    experiment, so whoever does completes the sentence: `str(error.for_experiment("bert_base"))`.
    """

    def __init__(self, message: str, arguments: tuple[str, ...] = ()):
        self.message, self.arguments = message, arguments
        super().__init__(f"{message}; run: {self.command('NAME')}")

    def command(self, experiment: str) -> str:
        """The very command that prepares the data.

        >>> NotPrepared("tfds:c4/en is not prepared", ("--data.source", "tfds:c4/en")).command("bert_base")
        'python -m train.prepare --exp=bert_base --data.source tfds:c4/en'
        """
        return " ".join(("python -m train.prepare", f"--exp={experiment}", *self.arguments))

    def for_experiment(self, experiment: str) -> "NotPrepared":
        """The same error, with the experiment's name in its command."""
        named = NotPrepared(self.message, self.arguments)
        named.args = (f"{self.message}; run: {self.command(experiment)}",)
        return named

    def __reduce__(self):
        return NotPrepared, (self.message, self.arguments)
