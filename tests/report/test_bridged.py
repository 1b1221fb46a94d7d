"""What came through lmms-eval, on the page."""

from __future__ import annotations

import json

from adaptinf.report.page import build_report
from tests.report.conftest import HOSTILE, STEPS, FakeRun


def bridge(own_run: FakeRun, step: str, task: str, **cell: object) -> None:
    folder = own_run.folder / "steps" / step / "lmms" / task
    folder.mkdir(parents=True)
    (folder / "DONE").write_text(json.dumps({"inputs": {}}))
    whole = {"n": 7, "stderr": None, "interval": [10.0, 50.0], **cell}
    (folder / "scores.json").write_text(json.dumps(whole))


def row(page: str, name: str) -> str:
    """The cells of a table's row, as text."""
    found = page.partition('id="bridged"')[2].partition(f">{name}<")[2].partition("</tr>")[0]
    return " ".join(found.replace("<", " <").split())


def test_all_of_it_is_shown_and_what_is_not_averaged_says_so(own_run: FakeRun) -> None:
    assert 'id="bridged"' not in build_report(own_run.folder)
    for number, step in enumerate(("0-base", *STEPS)):
        bridge(own_run, step, "pope", metric="accuracy", score=0.3, mean=30.0 + number)
        bridge(own_run, step, "mme", metric=HOSTILE, score=1000.0 + number, mean=None)
    bridge(own_run, "0-base", "vqa", metric="match", score=0.5, mean=50.0)
    page = build_report(own_run.folder)
    assert "31.0" in row(page, "lmms:pope") and "yes" in row(page, "lmms:pope")
    assert "1005" in row(page, "lmms:mme") and "no, own unit" in row(page, "lmms:mme")
    assert "50.0" in row(page, "lmms:vqa") and "no, a step is missing" in row(page, "lmms:vqa")
    assert row(page, "lmms:vqa").count("<td>-") == 5
    assert HOSTILE not in page
    # Ten of its own and one of lmms-eval.
    assert "on average over 11 benchmarks" in page
