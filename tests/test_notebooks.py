"""Notebooks: they open with what will be seen, end with what to try, keep no outputs, and run from top to bottom."""

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_there_are_the_six():
    assert [path.stem.partition("_")[0] for path in NOTEBOOKS][:6] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_opens_and_ends_as_it_should(path):
    first, last = source(cells(path)[0]), source(cells(path)[-1])
    assert first.startswith("# ") and "what you will see" in first.lower()
    assert "what to try" in last.lower()
    assert len(cells(path)) <= 30, "too long for one sitting"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_small(path):
    """No outputs, which would be stale and large, and code that parses."""
    for cell in cells(path):
        assert not cell.get("outputs") and not cell.get("execution_count")
        if cell["cell_type"] == "code":
            ast.parse(source(cell))
    assert path.stat().st_size < 60_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own parts; what a cell warns of is looked for below
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    """Offline, in an empty folder, without an error or a warning."""
    nbclient = pytest.importorskip("nbclient", reason="notebooks are run where the extra notebooks is installed")
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    said = [
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]
    assert not [text for text in said if "Warning" in text], said
