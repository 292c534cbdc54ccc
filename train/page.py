"""The frame of `report.html` and the pages like it: a style, a small script, a policy. Nothing is loaded from anywhere.

Colours come from two sets of variables, light and dark, chosen by the reader's system. Text and marks keep a contrast of at
least 4.5 to 1 on both; no meaning is carried by colour alone. The script only moves a cursor over the curves. The files lie in
the folder `pages`; whatever is put into them is escaped, but for what they made themselves (model/inspection/markup.py).
"""

from pathlib import Path

from model.inspection.markup import asset, pages, policy
from model.inspection.view import viewer_script

FOLDER = Path(__file__).parent / "pages"
STYLE, SCRIPT = asset(FOLDER / "style.css"), asset(FOLDER / "cursor.js")
fill = pages(FOLDER)


def page(title: str, header: str, body: str, footer: str) -> str:
    """A whole HTML document; the policy forbids it to load anything, and to run any script but ours.

    What is not `Markup` is text and shows as it is written.
    """
    allowed = policy(SCRIPT, viewer_script())
    return str(fill("page", "page", title, header, body, footer, style=STYLE, script=SCRIPT, policy=allowed))
