from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptinf.data.encoder import Encoder
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.evaluation.benchmarks import find_benchmarks, load_benchmark
from adaptinf.evaluation.generation import Generator, remove_partials
from adaptinf.models.loading import ModelSource, load_model, load_processor


@pytest.fixture(scope="module")
def generator() -> Generator:
    encoder = Encoder(load_processor(ModelSource("tiny")), 256)
    return Generator(load_model(ModelSource("tiny")), encoder, batch_size=4)


@pytest.mark.parametrize("name", ["caption", "larger", "both"])
def test_batch_size_does_not_change_an_answer(
    generator: Generator, small_world: Path, tmp_path: Path, name: str
) -> None:
    benchmark = load_benchmark(small_world / "benchmarks" / f"{name}.yaml")
    items = benchmark.items()
    together = generator.answer(benchmark, items, tmp_path / "a.jsonl")
    single = Generator(generator.model, generator.encoder, 1)
    assert single.answer(benchmark, items, tmp_path / "b.jsonl") == together
    assert all(text == text.strip() for text in together)


def test_the_base_model_sees(generator: Generator, small_world: Path, tmp_path: Path) -> None:
    benchmark = load_benchmark(small_world / "benchmarks" / "caption.yaml")
    items = benchmark.items()
    texts = generator.answer(benchmark, items, tmp_path / "a.jsonl")
    assert sum(t == q.answer for t, q in zip(texts, items, strict=True)) >= 5


def test_goes_on_at_the_next_batch(generator: Generator, small_world: Path, tmp_path: Path) -> None:
    benchmark = load_benchmark(small_world / "benchmarks" / "caption.yaml")
    items = benchmark.items()
    partial = tmp_path / "partial.jsonl"
    whole = generator.answer(benchmark, items, partial)
    lines = partial.read_text().splitlines(keepends=True)
    assert len(lines) == 6
    marked = [json.dumps(json.loads(line) | {"text": "kept"}) + "\n" for line in lines[:4]]
    # The first batch is there, the second was cut off in the middle of a line.
    partial.write_text("".join(marked) + lines[4][:7])
    first = {json.loads(line)["item"] for line in lines[:4]}
    texts = generator.answer(benchmark, items, partial)
    assert texts == ["kept" if i in first else whole[i] for i in range(6)]


class Alone(Ranks):
    """One of several ranks, the others of which have nothing to wait for."""

    def meet(self) -> None:
        """Nobody is there."""


def test_ranks_share_the_batches(generator: Generator, small_world: Path, tmp_path: Path) -> None:
    benchmark = load_benchmark(small_world / "benchmarks" / "caption.yaml")
    items = benchmark.items()
    small = Generator(generator.model, generator.encoder, 2)
    whole = small.answer(benchmark, items, tmp_path / "whole.jsonl")
    partial = tmp_path / "some" / "answers.partial.jsonl"
    partial.parent.mkdir()
    told: list[int] = []
    assert small.answer(benchmark, items, partial, told.append, Alone(1, 2)) == []
    assert sum(told) == len(items)
    mine = partial.with_name("answers.partial.1.jsonl").read_text().splitlines()
    assert len(mine) == 2  # the second of three batches
    # The leader of another launch takes what is there, whoever answered it.
    assert small.answer(benchmark, items, partial, ranks=Alone(0, 1)) == whole
    assert len(partial.read_text().splitlines()) == len(items) - 2
    remove_partials(partial)
    assert list(partial.parent.iterdir()) == []


def test_unknown_benchmark_and_doubled_one(small_world: Path) -> None:
    folder = small_world / "benchmarks"
    with pytest.raises(UserError, match="did you mean 'caption'"):
        find_benchmarks(folder, ["captoin"])
    with pytest.raises(UserError, match="named twice"):
        find_benchmarks(folder, ["caption", "caption"])
    assert [b.name for b in find_benchmarks(folder, ["more", "both"])] == ["more", "both"]


def test_a_benchmark_may_be_a_path_beside_the_recipe(small_world: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nquestions: q.jsonl\nmetric: exact\n")
    found = find_benchmarks(small_world / "benchmarks", ["more", "mine.yaml"], tmp_path)
    assert [b.name for b in found] == ["more", "mine"]
    assert found[1].questions == tmp_path / "q.jsonl"
    with pytest.raises(UserError, match="no benchmark, so that forgetting"):
        find_benchmarks(tmp_path / "none", "all")


def test_broken_benchmarks_say_where(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nquestions: q.jsonl\nmetrik: exact\nmetric: exact\n")
    with pytest.raises(UserError, match="did you mean 'metric'"):
        load_benchmark(file)
    file.write_text("name: mine\nquestions: q.jsonl\nmetric: exakt\n")
    with pytest.raises(UserError, match=r"mine\.yaml: unknown metric.*'exakt'.*exact"):
        load_benchmark(file)
    file.write_text("name: mine\nquestions: q.jsonl\nmetric: exact\n")
    (tmp_path / "q.jsonl").write_text(
        '{"question_id": 1, "text": "t", "answer": "a"}\n{"question_id": 2, "text": "t"}\n'
    )
    with pytest.raises(UserError, match=r"q\.jsonl:2: a benchmark line needs"):
        load_benchmark(file).items()
    assert load_benchmark(file).items(limit=1)[0].question_id == "1"


def test_a_metric_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(
        "def close(said, right):\n    return 1 - min(1, abs(float(said) - float(right)))\n"
        "def wrong(said, right):\n    return 7\n"
    )
    (tmp_path / "q.jsonl").write_text('{"question_id": 1, "text": "q", "answer": "2"}\n')
    file = tmp_path / "b.yaml"

    def metric(name: str) -> float:
        file.write_text(f"name: b\nquestions: q.jsonl\nmetric: '{name}'\n")
        return load_benchmark(file).scorer()("1.75", "2")

    assert metric("score.py:close") == 0.75
    assert metric("exact") == 0.0
    with pytest.raises(UserError, match="a number from 0 to 1"):
        metric("score.py:wrong")
    with pytest.raises(UserError, match="no function 'gone' here"):
        metric("score.py:gone")
    with pytest.raises(UserError, match="no such file"):
        metric("gone.py:close")
    with pytest.raises(UserError, match=r"unknown metric.*did you mean 'exact'"):
        metric("exakt")
    (tmp_path / "score.py").write_text("1 / 0\n")
    with pytest.raises(UserError, match="the file fails: ZeroDivisionError"):
        metric("score.py:close")
