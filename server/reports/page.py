"""Page: the shell of every report, one page of HTML that asks for nothing outside itself."""

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources
from string import Template

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs


def page(
    title: str, facts: str, verdict: Sequence[str], warnings: Sequence[str], sections: Iterable[str], style: str = ""
) -> str:
    """Write a page with everything in it.

    Args:
        title: plain text, as all that follows but sections and style.
        facts: what was done, in a line.
        verdict: sentences; what stands before a colon is the claim.
        warnings: what to know before reading on; none leave no trace.
        sections: HTML, as `section` writes it.
        style: rules of CSS beside those of every report.

    Returns:
        HTML that is light or dark as its reader likes.
    """
    return Template(_shell()).substitute(
        title=html.escape(title),
        facts=html.escape(facts),
        verdict="".join(map(_sentence, verdict)),
        warnings=_warnings(warnings),
        sections="\n".join(sections),
        style=style,
        plotly=_plotly(),
        policy=policy(),
    )


@lru_cache(maxsize=1)
def policy() -> str:
    """Return what a browser is to let a report do: run the page's two scripts, known by their hashes, and load nothing.

    Whatever else might stand in a page, in a completion or in the name of an arm, would not be run.
    """
    [drawing] = [script for script in re.findall("<script>(.*?)</script>", _shell(), re.DOTALL) if script != "$plotly"]
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in (_plotly(), drawing.replace("$$", "$")))
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def _shell() -> str:
    return resources.files("server.reports").joinpath("page.html").read_text(encoding="utf-8")


def _plotly() -> str:
    return str(get_plotlyjs()).replace("</script", r"<\/script")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _sentence(sentence: str) -> str:
    """Let what is claimed stand out from its figures."""
    claim, colon, rest = sentence.partition(": ")
    return f"<p><strong>{html.escape(claim)}</strong>{colon}{html.escape(rest)}</p>"


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in warnings)
    title = "Before you read on"
    return f'<section class="warnings" aria-label="{title}"><strong>{title}</strong><ul>{items}</ul></section>'


def section(title: str, caption: str, body: str) -> str:
    """Write a section.

    Args:
        title: plain text.
        caption: plain text on how to read it; empty: none.
        body: HTML.
    """
    said = f'<p class="caption">{html.escape(caption)}</p>' if caption else ""
    return f"<section><h2>{html.escape(title)}</h2>{said}{body}</section>"


def figure(name: str, drawn: go.Figure) -> str:
    """Write a figure, for the page's script to draw.

    Args:
        name: of its own on the page, letters and underscores.
        drawn: figure whose texts are escaped: Plotly reads some markup.
    """
    encoded = drawn.to_json().replace("<", r"\u003c")  # no text can end the script
    said = f"Figure of {name.replace('_', ' ')}; its numbers are in the table that follows."
    return (
        f'<div class="figure"><div data-figure="figure-{name}" role="img" aria-label="{said}"></div>'
        f'<script type="application/json" id="figure-{name}">{encoded}</script></div>'
    )


def beside(*figures: str) -> str:
    """Set figures side by side, where the page is wide enough."""
    return f'<div class="beside">{"".join(figures)}</div>'


def folded(summary: str, body: str) -> str:
    """Fold a body of HTML up under a summary in plain text."""
    return f"<details><summary>{html.escape(summary)}</summary>{body}</details>"


def numbers(table: str) -> str:
    """Fold up the table of a figure's numbers."""
    return folded("the numbers", table)
