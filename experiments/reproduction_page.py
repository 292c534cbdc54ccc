"""The page of a reproduction: the verdict, the paper's figure from our numbers, every criterion, every figure by seed."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from train.charts import Chart, draw
from train.page import page


def render(result: Mapping[str, Any], charts: Sequence[Chart]) -> str:
    """The result as a standalone HTML page, without a network."""
    name, held = result["reproduction"], result["verdict"].startswith("reproduced")
    header = (
        f'<p class="eyebrow">A claim put to the test</p><h1>{escape(name.replace("_", " "))}</h1>'
        f'<p class="lede"><span class="pill {"done" if held else "stopped"}">{escape(result["verdict"])}</span> '
        f"{escape(result['claim'])}</p><p class='lede'>{escape(result['paper'])}</p>"
    )
    drawn = "".join(draw(chart) for chart in charts)
    body = [
        section("figure", "The figure, from our runs", f'<div class="charts">{drawn}</div>'),
        section("criteria", "What had to hold, written before the run", criteria(result)),
        section("figures", "Measured", figures(result)),
        section("published", "Published, and the floor", published(result)),
        section("departs", "In what this differs from the paper", f"<p>{escape(result['departs'])}</p>"),
        section("environment", "What ran", environment(result)),
    ]
    footer = f"Made by <code>python -m experiments.reproduce {escape(name)}</code>; nothing on this page was typed."
    return page(f"{name}: {result['verdict']}", header, "".join(body), footer)


def section(ident: str, title: str, content: str) -> str:
    """A titled part of the page."""
    return f'<section id="{ident}"><h2>{escape(title)}</h2>{content}</section>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of ready HTML under plain headings; the first column names the row."""
    top = "".join(f"<th{'' if at == 0 else ' class=number'}>{escape(text)}</th>" for at, text in enumerate(head))
    lines = "".join(
        f"<tr><th>{first}</th>{''.join(f'<td class=number>{cell}</td>' for cell in others)}</tr>"
        for first, *others in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def criteria(result: Mapping[str, Any]) -> str:
    """Each criterion and whether it holds."""
    rows = [
        [escape(item["criterion"]), '<span class="pill done">holds</span>' if item["holds"] else "<b>fails</b>"]
        for item in result["criteria"]
    ]
    return table(["criterion", ""], rows)


def figures(result: Mapping[str, Any]) -> str:
    """Mean, spread and every seed of each figure of each variant."""
    rows = []
    for variant, measured in result["measured"].items():
        mark = ' <span class="aside">the control, expected to fail</span>' if variant == result["control"] else ""
        for name, item in measured.items():
            mean, spread = ("" if item[key] is None else f"{item[key]:.4g}" for key in ("mean", "spread"))
            seeds = ", ".join("never" if value is None else f"{value:.4g}" for value in item["per_seed"])
            label = f"{escape(variant)}{mark}<span class=aside>{escape(name)}</span>"
            rows.append([label, mean, spread, escape(seeds)])
    return table(["variant and figure", "mean", "standard deviation", "by seed"], rows)


def published(result: Mapping[str, Any]) -> str:
    """The paper's figures beside the trivial floor."""
    rows = [[f"published: {escape(str(name))}", escape(str(value))] for name, value in result["published"].items()]
    rows += [[f"floor: {escape(name)}", f"{value:.4g}"] for name, value in result["floor"].items()]
    return table(["figure", "value"], rows)


def environment(result: Mapping[str, Any]) -> str:
    """Versions, machine, revision and command."""
    found = result["environment"]
    kept = ("command", "git_revision", "git_dirty", "python", "processor", "cpu_count")
    rows = [[escape(name), escape(str(found[name]))] for name in kept if name in found]
    rows.append(["seconds in steps, all runs", str(result["seconds"])])
    return table(["", ""], rows)
