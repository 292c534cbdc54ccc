"""HTML that escapes by construction: templates that escape whatever is put into them, and a policy that runs our script only.

Text becomes HTML in the templates of a folder and nowhere else. What a template gives is `Markup`; any other string that is put
into a template, or joined to a `Markup`, is escaped. Numbers are written before, so that an attribute or a style gets nothing
but what was written here. A page states, by their hashes, which scripts may run.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def pages(folder: Path) -> Callable[..., Markup]:
    """The macros of the templates of a folder: `pages(folder)("sections", "tile", label, value)`."""

    @functools.cache
    def macros(file: str) -> Any:
        environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template(f"{file}.html").module

    def fill(file: str, macro: str, *values: Any, **named: Any) -> Markup:
        return Markup("").join([getattr(macros(file), macro)(*values, **named)])

    return fill


def joined(parts: Iterable[str]) -> Markup:
    """Pieces one behind the other; what is no markup is escaped.

    >>> joined(["<i>", "&"])
    Markup('&lt;i&gt;&amp;')
    """
    return Markup("").join(parts)


@functools.cache
def asset(path: Path) -> Markup:
    """A file of ours, a style or a script, as it is."""
    return Markup(path.read_text(encoding="utf-8"))


def embedded(value: Any) -> Markup:
    """A value as JSON that can stand inside a script element: nothing in it ends the element, or a line of a script.

    >>> embedded({"a": "</script>&"})
    Markup('{"a":"\\\\u003c/script\\\\u003e\\\\u0026"}')
    """
    written = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Markup(written.translate(_ESCAPES))


def policy(*scripts: str) -> Markup:
    """A Content-Security-Policy: nothing is loaded, pictures come with the page, and only these scripts run.

    >>> str(policy())
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'none'; base-uri 'none'; form-action 'none'"
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    beside = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return Markup(f"{beside}; script-src {allowed}; base-uri 'none'; form-action 'none'")


_ESCAPES: Mapping[int, str] = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
