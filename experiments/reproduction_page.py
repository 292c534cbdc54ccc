"""The page of a reproduction: the verdict, the paper's figure from our numbers, every criterion, every figure by seed."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from model.inspection.markup import joined
from train.charts import Chart, draw
from train.page import fill, page


def render(result: Mapping[str, Any], charts: Sequence[Chart]) -> str:
    """The result as a standalone HTML page, without a network."""
    name, held = result["reproduction"], result["verdict"].startswith("reproduced")
    verdict = fill("page", "pill", "done" if held else "stopped", result["verdict"], after=result["claim"])
    header = fill("page", "heading", "A claim put to the test", name.replace("_", " "), [verdict, result["paper"]])
    parts = [
        ("figure", "The figure, from our runs", fill("page", "charts", joined(draw(chart) for chart in charts))),
        ("criteria", "What had to hold, written before the run", criteria(result)),
        ("figures", "Measured", figures(result)),
        ("published", "Published, and the floor", published(result)),
        ("departs", "In what this differs from the paper", fill("page", "paragraph", result["departs"])),
        ("environment", "What ran", environment(result)),
    ]
    made = f"python -m experiments.reproduce {name}"
    footer = fill("page", "code", "Made by ", made, "; nothing on this page was typed.")
    body = joined(fill("page", "section", *part) for part in parts)
    return page(f"{name}: {result['verdict']}", header, body, footer)


def criteria(result: Mapping[str, Any]) -> Markup:
    """Each criterion and whether it holds."""
    marks = {True: fill("page", "pill", "done", "holds"), False: fill("page", "strong", "fails")}
    return fill(
        "page",
        "table",
        ["criterion", ""],
        [(one["criterion"], marks[bool(one["holds"])]) for one in result["criteria"]],
    )


def figures(result: Mapping[str, Any]) -> Markup:
    """Mean, spread and every seed of each figure of each variant."""
    rows = []
    for variant, measured in result["measured"].items():
        mark = "the control, expected to fail" if variant == result["control"] else ""
        for name, item in measured.items():
            mean, spread = ("" if item[key] is None else f"{item[key]:.4g}" for key in ("mean", "spread"))
            seeds = ", ".join("never" if value is None else f"{value:.4g}" for value in item["per_seed"])
            rows.append((fill("page", "aside", name, mark, f"{variant} "), mean, spread, seeds))
    return fill("page", "table", ["variant and figure", "mean", "standard deviation", "by seed"], rows)


def published(result: Mapping[str, Any]) -> Markup:
    """The paper's figures beside the trivial floor."""
    rows = [(f"published: {name}", str(value)) for name, value in result["published"].items()]
    rows += [(f"floor: {name}", f"{value:.4g}") for name, value in result["floor"].items()]
    return fill("page", "table", ["figure", "value"], rows)


def environment(result: Mapping[str, Any]) -> Markup:
    """Versions, machine, revision and command."""
    found = result["environment"]
    kept = ("command", "git_revision", "git_dirty", "python", "processor", "cpu_count")
    rows = [(name, str(found[name])) for name in kept if name in found]
    return fill("page", "table", (), [*rows, ("seconds in steps, all runs", str(result["seconds"]))])
