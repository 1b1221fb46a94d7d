"""Templates of the pages: escaped, strict about names, fetching nothing."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from adaptinf.report import wording

_FILTERS = ("percent", "points", "tenths", "signed", "count", "duration")


def render(template: str, **context: Any) -> str:
    """The text of a page."""
    environment = Environment(
        loader=PackageLoader("adaptinf.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in _FILTERS:
        environment.filters[name] = getattr(wording, name)
    return environment.get_template(template).render(**context)
