"""Pages that are complete in themselves: one HTML file with its style, script and pictures inside."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from blemish.reports import words
from blemish.text import one_line, score_text


def render(template: str, **context: Any) -> str:
    """The page of a template in `outputs/templates`, all text in it escaped."""
    return environment().get_template(template).render(**context)


def environment() -> Environment:
    """How templates are read: escaped by default, a missing name is an error, numbers through `words`."""
    made = Environment(
        loader=PackageLoader("blemish.reports", "templates"),
        autoescape=True,
        # Names from disk, so that they cannot turn the page's text around; finished markup is left as it is.
        finalize=lambda value: one_line(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "rate": words.rate,
        "metric": words.metric,
        "score": words.score,
        "pvalue": words.p_value,
        "plural": words.plural,
        "display": score_text,
        "plain": words.plain,
        "tick_share": lambda power: f"{100 * 10.0**power:g} %",
    }
    return made
