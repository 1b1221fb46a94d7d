"""Templates of the pages: escaped, strict about names, fetching nothing."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from adaptinf.report import wording

_FILTERS = ("percent", "points", "tenths", "signed", "count", "duration")


def render(template: str, package: str = "adaptinf.report", **context: Any) -> str:
    """The text of a page, whose template is among those of a package."""
    environment = Environment(
        loader=PackageLoader(*package.rsplit("/", 1)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in _FILTERS:
        environment.filters[name] = getattr(wording, name)
    return environment.get_template(template).render(**context)
