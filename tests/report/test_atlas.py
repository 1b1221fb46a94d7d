"""The page of what was kept and left out."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from adaptinf.data.pool import POOL_SCHEMA
from adaptinf.features.store import load_features
from adaptinf.report import atlas
from adaptinf.report.atlas import build_atlas
from adaptinf.report.findings import read_findings
from stages.cli.gallery import show_selection
from stages.cli.guard import guarded, umbrella


def test_every_row_that_was_kept_is_in_its_cluster(undisturbed: Path) -> None:
    findings = read_findings(undisturbed)
    for name in findings.steps:
        step = atlas._step(findings, name, 100)
        assert step is not None
        folder = undisturbed / "steps" / name
        selected = pq.read_table(folder / "select" / "selection.parquet").to_pylist()
        pool = pq.read_table(folder / "ingest" / "pool.parquet")
        # All rows are shown, so that clusters and pool must agree in every number.
        assert sum(group.size for group in step.groups) == len(pool)
        for group in step.groups:
            inside = [row for row in selected if str(row["cluster"]) == group.name]
            assert group.kept == len(inside) == sum(row.kept for row in group.rows)
            assert len(group.rows) == group.size
            assert {group.scorer} == {row["scorer"] for row in inside} or not inside
        assert len(step.dots) == len(pool)
        assert sum(dot.kept for dot in step.dots) == len(selected)
        assert all(0 <= dot.x <= 1 and 0 <= dot.y <= 1 for dot in step.dots)
        assert step.spread[0] >= step.spread[1] > 0


def test_the_map_has_the_principal_axes(undisturbed: Path) -> None:
    findings = read_findings(undisturbed)
    name = findings.steps[0]
    step = atlas._step(findings, name, 1)
    assert step is not None
    vectors = load_features(undisturbed / "steps" / name / "featurize", "gradients")
    units = np.asarray(vectors, dtype=np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    spectrum = np.linalg.svd(units - units.mean(0), compute_uv=False) ** 2
    expected = 100 * spectrum[:2] / spectrum.sum()
    assert step.spread == pytest.approx(tuple(expected), abs=0.05)


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "input", "circle", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "circle":
            assert self.open.pop() == tag


def test_the_page_fetches_nothing_and_filters_without_a_script(
    undisturbed: Path, tmp_path: Path
) -> None:
    app = umbrella("about")
    app.command("gallery")(guarded(show_selection, "stopped"))
    out = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["gallery", str(undisturbed), "--out", str(out)])
    assert result.exit_code == 0, result.output
    page = out.read_text()
    parsed = Balanced()
    parsed.feed(page)
    assert parsed.open == [] and "script" not in parsed.tags
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert "default-src 'none'" in page
    for kind in ("step-1", "dataset-1", "kept-1"):
        assert f'id="{kind}"' in page and f"#{kind}:checked" in page
    assert page == build_atlas(undisturbed)


def test_texts_of_datasets_are_escaped_and_paths_stay_inside(
    undisturbed: Path, tmp_path: Path
) -> None:
    import shutil

    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    file = run / "steps" / "1-llava" / "ingest" / "pool.parquet"
    rows = pq.read_table(file).to_pylist()
    for row in rows:
        row["skill"] = "</style><script>alert(1)</script>"
        row["images"] = ["../../outside.png"]
        row["turns"][0]["text"] = "<script>alert(2)</script>"
    pq.write_table(pa.Table.from_pylist(rows, schema=POOL_SCHEMA), file)
    page = build_atlas(run)
    assert "<script" not in page and "&lt;script&gt;alert(2)" in page
    step = atlas._step(read_findings(run), "1-llava", 100)
    assert step is not None
    assert all(row.tile.picture is None for group in step.groups for row in group.rows)


def test_a_run_that_selects_without_features_has_no_map(undisturbed: Path, tmp_path: Path) -> None:
    import json
    import shutil

    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    for step in ("1-llava", "2-mantis"):
        shutil.rmtree(run / "steps" / step / "featurize")
        select = run / "steps" / step / "select"
        (select / "centroids.npy").unlink()
        summary = json.loads((select / "summary.json").read_text())
        (select / "summary.json").write_text(json.dumps(summary | {"clusters": []}))
        table = pq.read_table(select / "selection.parquet")
        none = pa.nulls(len(table), pa.int32())
        at = table.column_names.index("cluster")
        pq.write_table(table.set_column(at, "cluster", none), select / "selection.parquet")
    step = atlas._step(read_findings(run), "2-mantis", 3)
    assert step is not None and not step.dots
    assert [group.name for group in step.groups] == ["llava", "mantis"]
    assert all(len(group.rows) <= 6 for group in step.groups)
    assert "<circle" not in build_atlas(run)
