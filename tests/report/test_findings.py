"""Reading a run folder."""

from __future__ import annotations

import pytest

from adaptinf.errors import UserError
from adaptinf.report.findings import read_findings


def test_reads_what_is_there(run) -> None:
    findings = read_findings(run.folder)
    assert findings.steps == tuple(run.matrix.steps[1:])
    selection = findings.selections["2-m3it"]
    assert (selection.method, selection.pool_size, selection.selected) == ("adapt-inf", 120, 40)
    assert sum(selection.share.values()) == 40
    assert selection.excluded == {"no answer tokens": 3}
    assert sum(cluster.size for cluster in selection.clusters) == 120
    assert sum(cluster.budget for cluster in selection.clusters) == 40
    assert findings.seconds["3-minigpt4"]["featurize"] == 4.5
    assert findings.recipe["adapter"] == {"route": "lora"}
    assert findings.versions["torch"] == "2.13.0"
    assert findings.step_folder(0).name == "0-base"
    assert findings.step_folder(5).name == "5-vision_flan"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("matrix.json", "{", "not an accuracy matrix"),
        ("cost.json", "{", r"cost\.json: not valid JSON"),
        ("cost.json", "[]", r"cost\.json: not a JSON object"),
        ("cost.json", '{"steps": [{"step": "1-llava"}]}', "cost entry lacks a key"),
        ("config.resolved.yaml", "a: [", r"config\.resolved\.yaml: not valid YAML"),
        ("steps/1-llava/select/summary.json", '{"n": 1}', r"summary\.json: a selection summary"),
    ],
)
def test_a_spoilt_file_is_named(own_run, file: str, content: str, message: str) -> None:
    (own_run.folder / file).write_text(content)
    with pytest.raises(UserError, match=message):
        read_findings(own_run.folder)


def test_a_random_selection_has_no_clusters(own_run) -> None:
    file = own_run.folder / "steps" / "1-llava" / "select" / "summary.json"
    file.write_text('{"method": "random", "n": 9, "selected": 3, "share": {"llava": 3}}')
    selection = read_findings(own_run.folder).selections["1-llava"]
    assert (selection.clusters, selection.excluded) == ((), {})
