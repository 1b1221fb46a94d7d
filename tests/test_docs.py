from __future__ import annotations

import importlib.metadata
import json
import math
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image

from adaptinf.data import readers
from adaptinf.data.ingest import ingest
from adaptinf.data.pool import PoolBuilder
from adaptinf.data.source import find_source
from adaptinf.evaluation.benchmarks import find_benchmarks
from adaptinf.evaluation.scorers import scorer
from config import load_recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FILE = re.compile(r"(?<![\w./-])(?:adaptinf|configs|docs|scripts|selection|stages|tests)/[\w./*-]*")
MODULE = re.compile(r"(?<![\w./])(?:adaptinf|selection|stages)(?:\.\w+)+(?![\w/])")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text())


def quoted(page: Path) -> Iterator[str]:
    yield from (body for _, body in FENCED.findall(page.read_text()))
    yield from QUOTED.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """Names that GitHub gives to headings."""
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(prose(page)))
    return {title.replace(" ", "-") for title in plain}


def titled_files(page: Path) -> dict[str, str]:
    """Code blocks that say which file they are."""
    blocks = FENCED.findall(page.read_text())
    return {found[1]: body for info, body in blocks if (found := re.search(r'title="(.+?)"', info))}


def test_the_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= {page.name for page in PAGES}
    assert ROOT / "docs" / "architecture.md" in PAGES


@pages
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pages
def test_files_named_in_code_exist(page: Path) -> None:
    for text in quoted(page):
        for name in FILE.findall(text):
            assert any(ROOT.glob(name.rstrip("./"))), name


@pages
def test_modules_named_in_code_exist(page: Path) -> None:
    for text in quoted(page):
        for name in MODULE.findall(text):
            if not name.endswith((".parquet", ".py")):
                pkgutil.resolve_name(name)


def test_the_citation_has_what_the_format_requires() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == importlib.metadata.version("adaptinf")
    for work in [cited, *cited["references"]]:
        assert work["type"] and work["title"]
        assert all(author.keys() & {"name", "family-names", "alias"} for author in work["authors"])
        assert work["authors"]
    assert cited["message"]


def test_notice_and_citation_name_the_same_papers() -> None:
    named = re.findall(r"arXiv (\d{4}\.\d{5})", (ROOT / "NOTICE").read_text())
    cited = re.findall(r"arXiv:(\d{4}\.\d{5})", (ROOT / "CITATION.cff").read_text())
    assert named == cited
    assert len(named) == 4


def test_the_commit_hooks_run_the_pinned_ruff() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    ruff = next(repo["rev"] for repo in hooks if repo["repo"].endswith("ruff-pre-commit"))
    assert f"\nruff=={ruff.removeprefix('v')}\n" in (ROOT / "constraints.txt").read_text()


def test_the_own_data_of_the_page_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in titled_files(ROOT / "docs" / "own_data.md").items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    Path("my_data/images").mkdir()
    for name in ("cup", "plate"):
        Image.new("RGB", (8, 8), "white").save(f"my_data/images/{name}.png")

    recipe = load_recipe("my_data/recipe.yaml")
    task = recipe.tasks[1]
    media = tmp_path / "media"
    source = find_source(
        task.dataset, root=tmp_path, media=media, recipe_dir=recipe.recipe_dir, name=task.label
    )
    result = ingest(source, PoolBuilder(lambda table: None), None, 1, media)
    assert result.counts.kept == len(json.loads(Path("my_data/rows.json").read_text())) == 3
    assert not result.dropped

    Path("my_data/pairs.tsv").write_text("Is it red?\tno\nIs it blue?\tyes\n")
    lines = find_source(
        "pairs.tsv",
        root=tmp_path,
        media=media,
        recipe_dir=recipe.recipe_dir,
        format="lines.py:read",
    )
    assert [row.turns[1].text for row in readers.read(lines, media)] == ["no", "yes"]

    [benchmark] = find_benchmarks(tmp_path / "none", recipe.evaluate.benchmarks)
    assert benchmark.taught_by == (task.label,)
    assert scorer(benchmark.metric)("blue", benchmark.items()[0].answer) == 1
    for question in benchmark.items():
        assert all((benchmark.images / name).is_file() for name in question.images)


def test_the_own_method_of_the_page_prints_what_it_says(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "own_data.md").read_text()
    [code] = [body for info, body in FENCED.findall(text) if info == "python"]
    said = re.findall(r"^print\(.+\)  # (.+)$", code, re.MULTILINE)
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert shown.stdout.splitlines() == said
    assert said


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_baselines_are_those_that_were_measured() -> None:
    page = (ROOT / "docs/embedded_world.md").read_text()
    table = page.split("<!-- docs/baselines.md -->")[1].split("<!-- end -->")[0].strip()
    assert table == (ROOT / "docs/baselines.md").read_text().strip()
    measured = json.loads((ROOT / "docs/baselines.json").read_text())
    assert [row["method"] for row in measured] == ["sequential", "random", "adapt-inf"]
    for row, line in zip(measured, table.splitlines()[2:], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:2] == [row["method"], str(row["average_accuracy"])]


def test_every_skill_of_the_world_was_seen_to_be_learnable() -> None:
    from adaptinf.data.world.skills import SKILLS

    checked = json.loads((ROOT / "docs/skills.json").read_text())
    assert {row["skill"] for row in checked} == set(SKILLS)
    assert all(row["after"] >= 80 for row in checked)


def measured_tables(page: Path) -> Iterator[tuple[str, object, str]]:
    """Files of results that a page names, what is in them, and what the page shows of them."""
    text = page.read_text()
    for file, block in re.findall(r"<!-- (docs/\S+\.json) -->\n(.*?)<!-- end -->", text, re.DOTALL):
        if block.strip() != "Not measured yet.":
            yield file, json.loads((ROOT / file).read_text()), block


@pages
def test_tables_are_those_that_were_measured(page: Path) -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    import bench_adapters
    import bench_data
    import bench_selection
    import bench_training
    import check_choice
    import check_gate
    import check_probes
    import compare_routes
    import compare_tiers
    import forecast_recipes
    import soak

    import bench_features
    import bench_scale
    import study_pages
    from pages import markdown

    def shown(file: str, found: object) -> str:
        if file == "docs/tiers.json":
            ways = [compare_tiers.worded(way) for way in found["ways"]]
            return markdown(compare_tiers.HEADS, ways)
        if file == "docs/choice.json":
            return markdown(check_choice.HEADS, check_choice.lines(found))
        if file == "docs/gate.json":
            return markdown(check_gate.HEADS, found["lines"])
        if file == "docs/probes.json":
            return markdown(check_probes.HEADS, found["lines"])
        if file == "docs/bench/data.json":
            return markdown(bench_data.HEADS, found["lines"])
        if file == "docs/bench/training.json":
            return markdown(bench_training.HEADS, found["lines"])
        if file == "docs/scale.json":
            assert found["lines"] == bench_scale.projected(ROOT / "docs/bench")
            return markdown(bench_scale.HEADS, found["lines"])
        if file == "docs/recipes.json":
            return forecast_recipes.shown(found)
        if file == "docs/results.json":
            return study_pages.brief_of(found)
        if file == "docs/soak.json":
            return markdown(soak.HEADS, found["lines"])
        if file == "docs/routes.json":
            return markdown(compare_routes.HEADS, found)
        if file == "docs/bench/adapters.json":
            return f"```\n{bench_adapters.table_of(found)}\n```\n"
        if file == "docs/bench/features.json":
            return f"```\n{bench_features.tables_of(found)}\n```\n"
        return f"```\n{bench_selection.table_of(found['cells'])}\n```\n"

    for file, found, block in measured_tables(page):
        assert block.strip() == shown(file, found).strip(), file


MEASURED = re.compile(r"([+-]?\d[\d,]*\.?\d*)<!-- (docs/\S+\.json) (\S+) -->")


def measured_numbers(page: Path) -> Iterator[tuple[str, str, str]]:
    """Numbers in sentences, each with the file that it is from and its place there."""
    for shown, file, place in MEASURED.findall(page.read_text()):
        found = json.loads((ROOT / file).read_text())
        for key in place.split("."):
            found = found[int(key)] if isinstance(found, list) else found[key]
        number = float(str(found).replace(",", "").split()[0])
        digits = len(shown.partition(".")[2])
        yield f"{file} {place}", shown.replace(",", ""), f"{number:.{digits}f}"


@pages
def test_numbers_in_sentences_are_those_that_were_measured(page: Path) -> None:
    marks = len(re.findall(r"<!-- docs/\S+\.json \S+ -->", page.read_text()))
    numbers = list(measured_numbers(page))
    assert len(numbers) == marks
    for where, shown, found in numbers:
        assert shown == found, where


def test_growth_is_as_the_pages_say() -> None:
    def exponent(many: float, few: float) -> str:
        return f"n^{math.log10(many / few):.1f}"

    [more, one] = (
        {cell["rows"]: cell for cell in found["cells"] if cell["way"] == "ours"}
        for found in (
            json.loads((ROOT / f"docs/bench/{name}.json").read_text())
            for name in ("selection", "selection_k1000")
        )
    )
    most = more[1_000_000]
    page = (ROOT / "docs/selection.md").read_text()
    assert f"grows as {exponent(most['seconds'], more[100_000]['seconds'])}. With" in page
    assert f"it grows as {exponent(most['seconds'], one[100_000]['seconds'])}:" in page
    times = exponent(most["seconds"], more[100_000]["seconds"])
    memory = exponent(most["working_mib"], more[100_000]["working_mib"])
    assert f"({times} for time, {memory} for memory)" in (ROOT / "docs/scale.md").read_text()


def test_pages_with_measured_tables_are_found() -> None:
    files = {file for page in PAGES for file, _, _ in measured_tables(page)}
    assert {"docs/tiers.json", "docs/bench/features.json"} <= files
    assert sum(len(list(measured_numbers(page))) for page in PAGES) > 5
