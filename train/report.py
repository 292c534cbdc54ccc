"""The page of a run (minimal for now)."""

from collections.abc import Callable
from pathlib import Path


def write_report(run_dir: str | Path, *, say: Callable[[str], None] | None = None) -> Path | None:
    """Write `report.html` from what lies in the run folder; never raises, None when it could not be written."""
    path = Path(run_dir) / "report.html"
    path.write_text("<!doctype html><title>Loupe</title>")
    return path
