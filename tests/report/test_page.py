"""The whole page: what it names, that it is right, whole, safe and small."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptinf.errors import UserError
from adaptinf.evaluation import AccuracyMatrix
from adaptinf.report import build_report, write_report
from adaptinf.report.wording import tenths

VOID = {"meta", "img", "br", "rect", "line", "circle"}
LOADING = {"src", "href", "srcset", "xlink:href", "action", "data", "poster", "background"}


class Page(HTMLParser):
    """Tags, attributes and texts of a page; refuses tags that are closed out of order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data.strip())

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture(scope="module")
def html(run) -> str:
    return build_report(run.folder)


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_ids_are_unique_and_links_lead_to_them(page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert set(ids.values()) == {1}
    links = [attributes["href"] for attributes in page.named("a")]
    assert len(links) == 7 and all(link.removeprefix("#") in ids for link in links)
    named_by = [a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a]
    assert named_by and set(named_by) <= set(ids)


def test_nothing_is_fetched_or_run(page: Page, html: str) -> None:
    assert not page.named("script") and not page.named("link") and not page.named("iframe")
    loaded = [value for _, a in page.tags for key, value in a.items() if key in LOADING]
    assert all(value.startswith(("#", "data:image/png;", "data:image/jpeg;")) for value in loaded)
    assert not [key for _, a in page.tags for key in a if key.startswith("on")]
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    policy = page.named("meta")[2]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith("default-src 'none'")


def test_hostile_text_is_shown_as_text(page: Page, html: str) -> None:
    assert "<script>" not in html
    shown = [text for text in page.texts if text == "<script>alert(1)</script>"]
    assert len(shown) >= 5
    assert "What is &amp; \u202ewhere?" in page.texts
    assert "http://example.org" in page.text


def test_every_step_benchmark_and_dataset_is_named(page: Page, run) -> None:
    for name in (*run.matrix.steps, *(benchmark.name for benchmark in run.matrix.benchmarks)):
        assert name in page.texts, name
    for dataset in ("llava", "m3it", "minigpt4", "mantis", "vision_flan"):
        assert page.texts.count(dataset) >= 2


def test_numbers_are_those_of_the_matrix(html: str, run) -> None:
    stored = AccuracyMatrix.from_json((run.folder / "matrix.json").read_text())
    titles = re.findall(r"<title>([\w-]+), ([\w-]+): ([\d.]+) %, 95 % interval", html)
    assert len(titles) == 60
    names = [benchmark.name for benchmark in stored.benchmarks]
    for name, step, shown in titles:
        score = stored.scores[stored.steps.index(step), names.index(name)]
        assert float(shown) == pytest.approx(score, abs=0.05)


def test_headlines(page: Page, run) -> None:
    text = page.text
    assert f"After 5 steps the model scores {tenths(run.matrix.average_accuracy())} %" in text
    assert "The largest loss is on parity: 37.5 % at the end, 45.5 points below its best." in text
    for value in (run.matrix.forgetting("max-drop"), run.matrix.backward_transfer()):
        assert f"{tenths(value)} points" in page.texts
    assert "Model tiny Adapter lora Selection adapt-inf Budget per step 400 Seed 0" in text
    assert "scored in different ways (exact, phrases)" in text


def test_what_was_selected_is_told_per_step(page: Page) -> None:
    headings = [t for t in page.texts if t in ("1-llava", "5-vision_flan")]
    assert len(headings) >= 4
    assert "adapt-inf selected 40 of 60 rows from 7 clusters." in page.text
    assert "Left out before the choice: no answer tokens (3)." in page.text
    assert "Winning scorers:" in page.text
    tiles = [a for a in page.named("li") if a.get("class") == "tile"]
    assert len(tiles) == 5 * 8


def test_costs(page: Page) -> None:
    # Five steps of training at 8 s; features 1.5 + row and selecting 0.25 s each: 23.75 s.
    assert "Choosing the data took 59.4 % of the training time." in page.text
    assert "The whole run took 1 min 45 s." in page.text
    for number in ("23.8", "40.0", "37.5", "105.0"):
        assert number in page.texts


def test_pictures_have_alt_texts_and_headings_go_down_by_one(page: Page) -> None:
    images = page.named("img")
    assert len(images) > 30 and all(image["alt"] for image in images)
    drawings = [a for a in page.named("svg") if a.get("aria-hidden") != "true"]
    assert len(drawings) == 5 and all(a["role"] == "img" and a["aria-label"] for a in drawings)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_page_is_small_and_the_same_each_time(html: str, run) -> None:
    assert len(html.encode()) < 1_000_000
    assert build_report(run.folder) == html


def test_nothing_of_the_machine_is_shown(html: str, run) -> None:
    assert "secret-host" not in html
    assert str(run.folder.parent) not in html


def test_a_run_without_selection_costs_recipe_or_answers(own_run) -> None:
    for name in ("cost.json", "config.resolved.yaml", "environment.json"):
        (own_run.folder / name).unlink()
    shutil.rmtree(own_run.folder / "steps")
    page = Page(build_report(own_run.folder))
    for sentence in (
        "This run has no selection on record",
        "This run has no costs on record.",
        "This run has no recipe on record.",
        "No answer of this kind is on record.",
    ):
        assert sentence in page.text
    assert not page.named("img")
    assert "No selection on record for this step." not in page.text
    assert "colour" in page.texts


def test_one_step_without_selection(own_run) -> None:
    shutil.rmtree(own_run.folder / "steps" / "3-minigpt4" / "select")
    page = Page(build_report(own_run.folder))
    assert "3-minigpt4 No selection on record for this step." in page.text
    assert "adapt-inf selected 40 of 60 rows" in page.text


def test_only_the_base_model(own_run) -> None:
    matrix = own_run.matrix
    first = AccuracyMatrix(("base",), matrix.benchmarks, matrix.scores[:1])
    (own_run.folder / "matrix.json").write_text(first.to_json())
    page = Page(build_report(own_run.folder))
    assert "Only the base model has been scored so far: 16.6 % on average." in page.text
    assert "not defined" in page.texts


def test_many_steps_stay_under_five_megabytes(own_run) -> None:
    """Sixty steps that each show pictures of pure noise, which do not compress."""
    rng = np.random.default_rng(0)
    for picture in (own_run.folder.parent / "own-images").iterdir():
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(picture)
    names = [f"{number}-extra" for number in range(6, 61)]
    for name in names:
        for part in ("select", "ingest"):
            source = own_run.folder / "steps" / "5-vision_flan" / part
            shutil.copytree(source, own_run.folder / "steps" / name / part)
    matrix = own_run.matrix
    scores = [*matrix.scores.tolist(), *[matrix.scores[-1].tolist()] * len(names)]
    longer = AccuracyMatrix((*matrix.steps, *names), matrix.benchmarks, scores)
    (own_run.folder / "matrix.json").write_text(longer.to_json())
    html = build_report(own_run.folder)
    assert 200 < html.count("data:image/jpeg") < 260
    assert len(html.encode()) < 5_000_000


def test_write_report(own_run, tmp_path: Path) -> None:
    assert write_report(own_run.folder) == own_run.folder / "report.html"
    elsewhere = write_report(own_run.folder, tmp_path / "mail.html")
    assert elsewhere.read_bytes() == (own_run.folder / "report.html").read_bytes()


def test_half_a_surrogate_pair_does_not_stop_the_writing(own_run) -> None:
    file = own_run.folder / "steps" / "5-vision_flan" / "evaluate" / "list" / "predictions.jsonl"
    file.write_text(file.read_text().replace("a blue square", "a \\ud800 square"))
    assert "a ? square" in write_report(own_run.folder).read_text(encoding="utf-8")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no matrix\.json here"):
        build_report(tmp_path)
