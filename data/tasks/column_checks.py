"""What is asked of the columns of a whole source before any example is made: that a role is read from one column, and that the
references that a task names are there.
"""

from collections.abc import Sequence

from data.errors import DataError
from data.tasks.choices import Generation, Task
from data.tasks.example_parts import no_column
from data.tasks.tables import Record, Table

ROLES = ("text", "second", "label", "target", "words", "tags", "question", "context", "golds", "positive", "negative", "score",
         "source")  # fmt: skip


def check_columns(task: Task, tables: Sequence[Table | None]) -> None:
    """DataError where examples of a source are read from different columns although some have both, or no record has a column
    with references.

    Files may call a column otherwise, as sentence and content; but where one has both, which of them is meant is not known.
    """
    shapes: dict[tuple[str, ...], Record] = {}
    for table in tables:
        for record in table.records if table is not None else ():
            shapes.setdefault(tuple(record.columns), record)
    for role in ROLES:
        names = getattr(task, role, ())
        if isinstance(names, tuple) and len(names) > 1:
            _check_role(role, names, shapes)
    if isinstance(task, Generation) and shapes:
        for name in task.references:
            if not name.endswith("?") and not any(name in shape for shape in shapes):
                raise no_column(next(iter(shapes.values())), (name,), "references")


def _check_role(role: str, names: tuple[str, ...], shapes: dict[tuple[str, ...], Record]) -> None:
    chosen = {shape: next((name for name in names if name in shape), None) for shape in shapes}
    for shape, first in chosen.items():
        for other, second in chosen.items():
            if second is not None and second != first and second in shape:
                raise DataError(
                    f"{shapes[shape].place} has the columns {first} and {second} for its {role}, and {shapes[other].place} has "
                    f"{second} only: name the one that is meant, as in --data.task.{role} \"('{second}',)\""
                )
