"""The two parts of a source as tables of records. Classes that a source numbers and names stand under their names."""

from collections.abc import Callable

from data.tasks.choices import Regression, Similarity, Tagging, Task
from data.tasks.sources import LibraryParts, TaskFiles, TaskSource, TaskTFDS
from data.tasks.tables import Record, Table, read_table


def read_source(
    source: TaskSource, task: Task, *, fetch: bool = False, say: Callable[[str], None] = print
) -> tuple[Table, Table | None]:
    """The training part, and the held-out part where the source has one."""
    match source:
        case TaskFiles():
            tagged = isinstance(task, Tagging)
            train = read_table(source.train, source.columns, tagged=tagged)
            if source.valid is None:
                return train, None
            return train, read_table(source.valid, source.valid_columns or source.columns, tagged=tagged)
        case LibraryParts():
            from data.tasks import library_parts

            return library_parts.tables()
        case TaskTFDS():
            from data.corpus import tfds_door

            numbers = (
                task.target if isinstance(task, Regression) else task.score if isinstance(task, Similarity) else ()
            )

            def part(split: str) -> Table:
                records, classes = tfds_door.open_table(
                    source.dataset, split, str(source), fetch=fetch, say=say, numbers=numbers
                )
                return Table([Record(*record) for record in records], classes)

            return part(source.train), None if source.valid is None else part(source.valid)
    raise TypeError(f"{source!r} is not a source of a task")
