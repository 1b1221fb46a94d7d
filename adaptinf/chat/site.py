"""The page on which people chat, and what stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from adaptinf.chat import pictures
from adaptinf.chat.service import Document
from adaptinf.report.rendering import render

HTML, JSON = "text/html; charset=utf-8", "application/json"


@dataclass(frozen=True, slots=True)
class Site:
    """What the page says of a run.

    ``auto``: a step can be chosen by the question. ``examples`` makes JSON of questions to begin
    with; ``selection`` and ``report`` make further pages, where the run has them.
    """

    name: str
    model: str
    route: str
    steps: Sequence[str]
    auto: bool
    examples: Callable[[], str]
    selection: Callable[[], str] | None = None
    report: Callable[[], str] | None = None

    def documents(self) -> dict[str, Document]:
        """By path."""
        page = files("adaptinf.chat") / "page"
        style, script = ((page / f"chat.{kind}").read_text("utf-8") for kind in ("css", "js"))
        found = {
            "/": Document(HTML, self._chat),
            "/chat.css": Document("text/css; charset=utf-8", lambda: style, open=True),
            "/chat.js": Document("text/javascript; charset=utf-8", lambda: script, open=True),
            "/examples.json": Document(JSON, self.examples),
        }
        for path, content in (("/selection", self.selection), ("/report", self.report)):
            if content is not None:
                found[path] = Document(HTML, content)
        return found

    def _chat(self) -> str:
        return render(
            "chat.html.j2",
            "adaptinf.chat/page",
            name=self.name,
            model=self.model,
            route=self.route,
            steps=self.steps,
            auto=self.auto,
            gallery=self.selection is not None,
            report=self.report is not None,
            limits={"bytes": pictures.BYTES, "images": pictures.COUNT},
        )
