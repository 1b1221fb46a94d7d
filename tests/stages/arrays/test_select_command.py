from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selection import METHODS, Pool, select
from stages.arrays.matrices import side_by_side

BOTH = ("select", "--features", "features.npy", "--scores", "scores.parquet")
ASKED = (*BOTH, "--budget", "20", "--clusters", "4")


def pool_of(folder: Path) -> Pool:
    table = pq.read_table(folder / "scores.parquet")
    return Pool(
        table["id"].to_pylist(),
        np.load(folder / "features.npy"),
        scores={name: table[name].to_numpy() for name in ("el2n", "perplexity")},
        groups=table["dataset"].to_pylist(),
        arrival=table["arrived"].to_numpy(),
    )


def test_parquet_holds_what_the_library_selects(adaptinf: Callable, arrays: Path) -> None:
    done = adaptinf(*ASKED, "--out", "made/out.parquet", "--seed", "7")
    assert done.code == 0, done.err
    table = pq.read_table("made/out.parquet")
    pool = pool_of(arrays)
    result = select(pool, 20, seed=7, clusters=4)
    assert table.drop(["group"]).equals(result.table)
    assert table["group"].to_pylist() == [pool.groups[row] for row in result.indices]
    summary = json.loads(Path("made/out.parquet.summary.json").read_text())
    assert {key: summary[key] for key in result.summary} == json.loads(json.dumps(result.summary))
    assert summary["settings"]["clusters"] == 4 and summary["settings"]["seed"] == 7
    assert summary["scores"] == ["el2n", "perplexity"]
    assert summary["unused_columns"] == ["note"]
    assert sorted(path.name for path in Path("made").iterdir()) == [
        "out.parquet",
        "out.parquet.summary.json",
    ]


def test_people_see_steps_and_a_table(adaptinf: Callable, arrays: Path) -> None:
    done = adaptinf(*ASKED, "--out", "out.parquet", "--explain", "r5", "--explain", "r7")
    assert done.err.splitlines() == [
        "reading features.npy, scores.parquet",
        "selecting 20 of 120 rows by adapt-inf",
        "explaining r5, r7",
        "writing out.parquet",
    ]
    lines = [line.split() for line in done.out.splitlines()]
    assert ["selected", "20"] in lines and ["rows", "120"] in lines
    assert ["set", "aside:", "zero-feature", "1", "row"] in lines
    assert ["set", "aside:", "non-finite-feature", "1", "row"] in lines
    assert ["set", "aside:", "non-finite-score:el2n", "2", "rows"] in lines
    chosen = pq.read_table("out.parquet")["group"].to_pylist().count("llava")
    assert ["llava", "70", str(chosen), f"{5 * chosen:.1f}%"] in lines
    assert done.out.startswith("r5 (row 5 of llava): ")
    assert "\n  why: zero feature: " in done.out
    assert lines[-1] == ["rows:", str(arrays / "out.parquet")]


def test_json_is_the_summary_with_seconds_and_explanations(
    adaptinf: Callable, arrays: Path
) -> None:
    done = adaptinf(*ASKED, "--out", "out.parquet", "--json", "--explain", "r7")
    told = json.loads(done.out)
    assert told.pop("seconds") > 0
    [row] = told.pop("explained")
    assert (row["id"], row["position"], row["group"]) == ("r7", 7, "llava")
    assert row["neighbour"]["id"] in pq.read_table("out.parquet")["id"].to_pylist()
    assert told == json.loads(Path("out.parquet.summary.json").read_text())


@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_the_same_again_gives_the_same_bytes(adaptinf: Callable, arrays: Path, suffix: str) -> None:
    for folder in ("a", "b"):
        done = adaptinf(
            *ASKED, "--out", f"{folder}/o.parquet", "--save-centroids", f"{folder}/c.{suffix}"
        )
        assert done.code == 0, done.err
    names = sorted(path.name for path in Path("a").iterdir())
    assert names == [f"c.{suffix}", "o.parquet", "o.parquet.summary.json"]
    for name in names:
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
    # The centroids are those of the library, and bring back the same clusters.
    again = (*BOTH, "--budget", "20", "--centroids", f"a/c.{suffix}", "--out", "c.parquet")
    assert adaptinf(*again).code == 0
    assert pq.read_table("c.parquet").equals(pq.read_table("a/o.parquet"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_asked_for(adaptinf: Callable, arrays: Path, method: str) -> None:
    table = pq.read_table("scores.parquet")
    for name in ("entropy", "grand", "image_grounding"):
        table = table.append_column(name, table["perplexity"])
    pq.write_table(table, "five.parquet")
    files = ("--features", "features.npy", "--scores", "five.parquet")
    done = adaptinf("select", *files, "--budget", 9, "--method", method, "--out", "o.parquet")
    assert done.code == 0, done.err
    assert len(pq.read_table("o.parquet")) == (120 if method == "multitask" else 9)
    assert ("budget ignored" in done.out) == (method == "multitask")


def test_shares_are_kept(adaptinf: Callable, arrays: Path) -> None:
    shares = ("--floor", "m3it=0.65", "--ceiling", "m3it=0.65")
    done = adaptinf(*ASKED, "--out", "o.parquet", *shares)
    assert done.code == 0, done.err
    assert pq.read_table("o.parquet")["group"].to_pylist().count("m3it") == 13
    assert adaptinf(*ASKED, "--out", "p.parquet", "--old", "0.9,1").code == 0
    assert pq.read_table("p.parquet")["group"].to_pylist().count("llava") >= 18


def test_scores_as_json_lines(adaptinf: Callable, arrays: Path) -> None:
    rows = pq.read_table("scores.parquet").to_pylist()
    for row in rows:
        if row["el2n"] is None and row["id"] == "r3":
            del row["el2n"]
    Path("scores.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    files = ("--features", "features.npy", "--scores", "scores.jsonl", "--clusters", "4")
    assert adaptinf("select", *files, "--budget", 20, "--out", "lines.parquet").code == 0
    assert adaptinf(*ASKED, "--out", "table.parquet").code == 0
    assert Path("lines.parquet").read_bytes() == Path("table.parquet").read_bytes()


def test_columns_are_chosen_by_name(adaptinf: Callable, arrays: Path) -> None:
    table = pq.read_table("scores.parquet")
    table = table.rename_columns(["name", "el2n", "perplexity", "source", "step", "note"])
    pq.write_table(table, "other.parquet")
    names = ("--id-column", "name", "--group-column", "source", "--arrival-column", "step")
    files = ("--features", "features.npy", "--scores", "other.parquet", "--out", "o.parquet")
    done = adaptinf("select", *files, *names, "--score-column", "el2n", "--budget", 9, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["scores"] == ["el2n"]
    assert summary["unused_columns"] == ["note", "perplexity"]
    assert set(summary["share"]) <= {"llava", "m3it"}
    assert pq.read_table("o.parquet")["id"][0].as_py().startswith("r")


def test_rows_are_told_apart_by_ids_or_numbers(adaptinf: Callable, arrays: Path) -> None:
    Path("rows.jsonl").write_text("".join(f'{{"id": "x{row // 2}"}}\n' for row in range(120)))
    plain = ("select", "--rows", "rows.jsonl", "--method", "random", "--budget", "3")
    done = adaptinf(*plain, "--out", "o.jsonl")
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        "rows.jsonl:2: the id of row 0 stands here again (seen: 'x0'); --id-column NAME takes"
        " another column, --row-numbers needs none"
    )
    done = adaptinf(*plain, "--out", "o.jsonl", "--row-numbers", "--explain", "17")
    assert done.code == 0, done.err
    assert done.out.startswith("17 (row 17): ")
    assert len(Path("o.jsonl").read_text().splitlines()) == 3
    # Without any table of ids there are only numbers.
    done = adaptinf("select", "--features", "features.npy", "--budget", 3, "--out", "o.parquet")
    assert done.code == 0, done.err
    ids = pq.read_table("o.parquet")
    assert ids["id"].to_pylist() == [str(row) for row in ids["position"].to_pylist()]


def test_shards_are_one_matrix_in_the_order_of_names(adaptinf: Callable, arrays: Path) -> None:
    whole = np.load("features.npy")
    Path("run").mkdir()
    for number, start in enumerate(range(0, 120, 50)):
        np.save(f"run/gradients-{number:05d}.npy", whole[start : start + 50])
        np.save(f"run/embeddings-{number:05d}.npy", whole[start : start + 50, ::-1])
    assert adaptinf(*ASKED, "--out", "one.parquet").code == 0
    for source in ("run", "run/gradients-*.npy"):
        asked = [source if word == "features.npy" else word for word in ASKED]
        assert adaptinf(*asked, "--out", "many.parquet").code == 0
        assert Path("one.parquet").read_bytes() == Path("many.parquet").read_bytes()
    asked = ["--embeddings" if word == "--features" else word for word in asked[:-4]]
    asked[2] = "run"
    done = adaptinf(*asked, "--budget", 20, "--clusters", 4, "--out", "e.parquet")
    assert done.code == 0, done.err
    wanted = select(Pool(range(120), whole[:, ::-1], scores=pool_of(arrays).scores), 20, clusters=4)
    assert pq.read_table("e.parquet")["position"].to_pylist() == wanted.indices.tolist()


def test_both_features_count_alike() -> None:
    left = np.array([[3, 4], [0, 0], [np.nan, 1], [60_000, 0]], dtype=np.float16)
    right = np.array([[0, 0, 5e30], [1e-30, 0, 0], [1, 0, 0], [0, -2, 0]], dtype=np.float64)
    joined = side_by_side(left, right)
    assert joined.dtype == np.float16
    expected = np.array(
        [[0.6, 0.8, 0, 0, 1], [0, 0, 1, 0, 0], [np.nan, np.nan, 1, 0, 0], [1, 0, 0, -1, 0]]
    )
    np.testing.assert_allclose(joined, expected, atol=1e-3)


def test_both_features_are_clustered_together(adaptinf: Callable, arrays: Path) -> None:
    np.save("more.npy", np.random.default_rng(1).standard_normal((120, 3)).astype(np.float32))
    files = ("--embeddings", "more.npy", "--save-centroids", "c.npy", "--out", "o.parquet")
    done = adaptinf(*ASKED, *files)
    assert done.code == 0, done.err
    assert np.load("c.npy").shape[1] == 9


MISTAKES = {
    "unknown method": (["--method", "adapt-in"], "did you mean 'adapt-inf'?"),
    "unknown scorer": (["--scorer", "max-entrop"], "did you mean 'max-entropy'?"),
    "unknown budgets": (["--cluster-budgets", "uniformly"], "did you mean 'uniform'?"),
    "unknown sampling": (["--sampling", "covrage"], "did you mean 'coverage'?"),
    "unknown clusters": (["--clusters", "elbw"], "select: unknown clusters 'elbw'"),
    "negative budget": (["--budget", "-1"], "select: budget must not be negative"),
    "nothing": (["--budget", "0"], "nothing to select (seen: {'rows': 120, 'budget': 0})"),
    "other ending": (["--out", "o.csv"], "o.csv: the name must end in .parquet, .json, .jsonl"),
    "no rows": (["--out", "o.json"], "o.json: chosen rows are written back in the format"),
    "own input": (["--out", "scores.parquet"], "scores.parquet: this would overwrite"),
    "no folder": (["--out", "features.npy/o.parquet"], "features.npy: no folder can be made"),
    "no file": (["--features", "none.npy"], "none.npy: no such file"),
    "no shards": (["--features", "empty"], "empty: no .npy files here; expected features-*.npy or"),
    "no match": (["--features", "f-*.npy"], "f-*.npy: no .npy files here; no file fits"),
    "integers": (["--features", "int.npy"], "int.npy: expected float16 or float32 (seen: 'int64')"),
    "pickled": (["--features", "pickled.npy"], "pickled.npy: this is no .npy file"),
    "cut off": (["--features", "cut.npy"], "cut.npy: this is no .npy file"),
    "archive": (["--features", "two.npz"], "two.npz: expected one matrix"),
    "one column": (["--features", "flat.npy"], "flat.npy: expected a matrix [rows, d] (seen: [120"),
    "short": (["--features", "short.npy"], "scores.parquet: 120 rows here, but 100 in short.npy"),
    "wide shard": (["--features", "s*t.npy"], "short.npy: this shard does not continue"),
    "no scores": (["--scores", "none.parquet"], "none.parquet: no such file"),
    "no table": (["--scores", "features.npy"], "features.npy: expected a .parquet or .jsonl file"),
    "broken table": (["--scores", "bad.parquet"], "bad.parquet: the table cannot be read"),
    "broken line": (["--scores", "bad.jsonl"], "bad.jsonl:2: broken JSON: Expecting"),
    "mixed score": (
        ["--scores", "mixed.jsonl"],
        "mixed.jsonl:2: the score 'el2n' must be",
    ),
    "no id": (["--scores", "no_id.jsonl"], "no_id.jsonl:2: no 'id' in this row"),
    "two ids": (["--scores", "twice.parquet"], "twice.parquet:row 9: the id of row 8 stands here"),
    "text score": (
        ["--score-column", "note"],
        "the score 'note' must hold numbers",
    ),
    "no score": (["--score-column", "eln2"], "no column 'eln2' here; did you mean 'el2n'?"),
    "no column": (["--group-column", "datset"], "no column 'datset' in scores.parquet; did you"),
    "float steps": (["--arrival-column", "perplexity"], "row 0: 'perplexity' must be a whole"),
    "no steps": (["--arrival-column", "el2n"], "scores.parquet:row 3: no 'el2n' in this row"),
    "float ids": (["--id-column", "perplexity"], "row 0: 'perplexity' must be text or a whole"),
    "few rows": (["--rows", "few.json"], "few.json: 1 rows here, but 120 in features.npy"),
    "other order": (
        ["--rows", "turned.jsonl"],
        "turned.jsonl:1: this row is 'r0' in",
    ),
    "no share": (["--floor", "llava"], "--floor: expected GROUP=SHARE (seen: 'llava')"),
    "no number": (
        ["--floor", "llava=ten"],
        "--floor: a share must be a number",
    ),
    "too much": (["--ceiling", "llava=2"], "--ceiling: a share must lie between 0 and 1"),
    "twice": (["--floor", "a=0", "--floor", "a=1"], "--floor: the group 'a' stands here twice"),
    "no group": (["--floor", "lava=0.5"], "select: unknown group 'lava'; did you mean 'llava'?"),
    "no range": (["--old", "0.5"], "--old: expected MIN,MAX (seen: '0.5')"),
    "no limits": (["--floor", "llava=0.7", "--floor", "m3it=0.7"], "select: the floors ask for"),
    "no row": (
        ["--explain", "q7"],
        "no row has this id (seen: 'q7'); ids are like 'r0'",
    ),
    "other width": (["--centroids", "short.npy"], "select: centroids must have the shape [k, 6]"),
    "no centroids": (
        ["--method", "random", "--save-centroids", "c.npy"],
        "--save-centroids: method 'random' has no centroids",
    ),
    "centroids ending": (["--save-centroids", "c.bin"], "c.bin: the name must end in .npy"),
    "no tensor": (
        ["--centroids", "two.safetensors"],
        "two.safetensors: no tensor 'centroids'",
    ),
    "broken tensor": (["--centroids", "bad.safetensors"], "bad.safetensors: the file cannot be"),
}


@pytest.fixture
def spoilt(arrays: Path) -> Path:
    """The arrays, and beside them files with all sorts of mistakes."""
    from safetensors.numpy import save_file

    table = pq.read_table("scores.parquet")
    Path("empty").mkdir()
    np.save("int.npy", np.ones((120, 6), dtype=np.int64))
    np.save("pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    Path("cut.npy").write_bytes(Path("features.npy").read_bytes()[:-8])
    np.savez("two.npz", a=np.ones(3))
    np.save("flat.npy", np.ones(120))
    np.save("short.npy", np.ones((100, 7), dtype=np.float32))
    np.save("sat.npy", np.ones((20, 6), dtype=np.float32))
    Path("bad.parquet").write_bytes(b"PAR1 no table PAR1")
    Path("bad.jsonl").write_text('{"el2n": 1}\n{"el2n": }\n')
    Path("mixed.jsonl").write_text('{"el2n": 1}\n{"el2n": "1"}\n' + '{"el2n": null}\n' * 118)
    Path("no_id.jsonl").write_text('{"id": 1, "el2n": 1}\n' + '{"el2n": 1}\n' * 119)
    ids = [f"r{row - (row == 9)}" for row in range(120)]
    pq.write_table(table.set_column(0, "id", pa.array(ids)), "twice.parquet")
    Path("few.json").write_text('[{"id": "r0"}]')
    Path("turned.jsonl").write_text("".join(f'{{"id": "r{119 - row}"}}\n' for row in range(120)))
    save_file({name: np.ones((2, 6), np.float32) for name in "ab"}, "two.safetensors")
    Path("bad.safetensors").write_bytes(b"none")
    return arrays


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_a_line(adaptinf: Callable, spoilt: Path, name: str) -> None:
    before = sorted(spoilt.rglob("*"))
    extra, told = MISTAKES[name]
    done = adaptinf(*ASKED, "--out", "o.parquet", *extra)
    assert done.code == 2
    assert told in done.err.splitlines()[-1]
    assert "Traceback" not in done.err and done.out == ""
    assert sorted(spoilt.rglob("*")) == before


def test_missing_columns_are_told_by_option(adaptinf: Callable, arrays: Path) -> None:
    budget = ("--budget", "5", "--out", "o.parquet")
    done = adaptinf("select", *budget)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("nothing to select from; give --features")
    for option, extra in {
        "select: adapt-inf needs features (--features)": [],
        "select: sequential needs the arrival step of every row (--arrival-column)": [
            "--method",
            "sequential",
        ],
        "select: shares by group need a group for every row": ["--floor", "a=1"],
        "--score-column: there is no table of scores": ["--score-column", "el2n"],
    }.items():
        Path("rows.json").write_text('[{"id": 1}, {"id": 2}]')
        done = adaptinf("select", "--rows", "rows.json", *budget, *extra)
        assert done.code == 2
        assert done.err.splitlines()[-1].startswith(option)
    done = adaptinf("select", "--features", "features.npy", "--method", "el2n", *budget)
    assert "select: el2n needs the score 'el2n' (--scores)" in done.err


def test_an_empty_pool_is_told(adaptinf: Callable, tmp_path: Path) -> None:
    Path("rows.json").write_text(" [ ]\n")
    asked = ("--rows", "rows.json", "--method", "random", "--out", "o.json")
    done = adaptinf("select", *asked, "--budget", 3)
    assert done.code == 2
    assert "nothing to select (seen: {'rows': 0, 'budget': 3})" in done.err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from stages.cli import adaptinf\n"
        "sys.argv = ['adaptinf', 'select', '--help']\n"
        "try:\n"
        "    adaptinf()\n"
        "except SystemExit:\n"
        "    print('modules', *sorted(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    help_text, _, modules = done.stdout.rpartition("modules")
    assert "Usage: adaptinf select" in help_text and "coincide" in help_text
    assert "typer" in modules.split()
    heavy = {"numpy", "torch", "faiss", "pyarrow", "transformers", "safetensors"}
    assert not heavy & set(modules.split())


def test_the_umbrella_lists_its_commands(adaptinf: Callable) -> None:
    done = adaptinf("--help")
    assert done.code == 0
    assert "Usage: adaptinf [OPTIONS] COMMAND" in done.out and "\n  select " in done.out
    assert "No such command 'selct'" in adaptinf("selct").err


def test_debug_shows_the_traceback(arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptinf.errors import UserError
    from stages import cli

    monkeypatch.chdir(arrays)
    words = ["adaptinf", *ASKED, "--out", "o.parquet", "--method", "no", "--debug"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(UserError, match="unknown selection method"):
        cli.adaptinf()
