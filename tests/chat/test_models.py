"""A run's models: the answers of a chat are those of its evaluation, whatever was asked before."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import openai
import pytest
import torch
import yaml

from adaptinf.adapters import attach, load_adapter, merge
from adaptinf.chat.choice import Chooser
from adaptinf.chat.messages import Message
from adaptinf.chat.talker import Bounds, Talker
from adaptinf.data.images import load_image
from adaptinf.errors import UserError
from adaptinf.evaluation.own import load_benchmark
from adaptinf.models.loading import ModelSource, load_model
from adaptinf.training.trainer import save_adapter
from stages.chat import FOLDER, open_chat
from stages.record import file_digests, write_record
from tests.conftest import ROOT

STEPS = ("base", "1-llava", "2-mantis")


@pytest.fixture(scope="module")
def run(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since a chat writes into the run."""
    copy = tmp_path_factory.mktemp("chat") / "run"
    return Path(shutil.copytree(undisturbed, copy))


@pytest.fixture(scope="module")
def talker(run: Path) -> Iterator[Talker]:
    with open_chat(run) as opened:
        yield opened


def asked(run: Path, step: str, benchmark: str) -> Iterator[tuple[Message, str]]:
    """Questions of a benchmark with the answers that the run has stored."""
    folder = "0-base" if step == "base" else step
    roots = json.loads((run / "environment.json").read_text())["image_roots"]
    root = Path(roots[f"benchmark:{benchmark}"])
    for line in (run / "steps" / folder / "evaluate" / benchmark / "predictions.jsonl").open():
        row = json.loads(line)
        images = tuple(load_image(root / name) for name in row["images"])
        yield Message("user", row["prompt"].replace("<image>", ""), images), row["text"]


def answers_again(run: Path, talker: Talker, world: Path) -> set[tuple[str, int, str]]:
    """Ask six questions of each benchmark again, the steps in turn; what was said, as it was."""
    seen = set()
    for benchmark in ("caption", "more"):
        most = load_benchmark(world / "benchmarks" / f"{benchmark}.yaml").max_new_tokens
        questions = {step: list(asked(run, step, benchmark)) for step in STEPS}
        # In turn, so that every question finds another step's adapter on the model.
        for number in range(6):
            for step in STEPS:
                message, stored = questions[step][number]
                heard: list[str] = []
                reply = talker.answer([message], step, Bounds(tokens=most), tell=heard.append)
                assert reply.text == stored == "".join(heard).strip()
                assert reply.step == step and reply.choice is None
                seen.add((step, number, reply.text))
    return seen


def test_the_answers_are_those_of_the_run(run: Path, talker: Talker, small_world: Path) -> None:
    assert talker.steps == STEPS
    # The steps do not all say the same.
    assert len({text for _, _, text in answers_again(run, talker, small_world)}) > 12


@pytest.mark.slow
@pytest.mark.parametrize(
    "adapter",
    [
        {"route": "dora"},
        {"route": "mixlora", "r": 4},
        {"route": "adem"},
        {"route": "full"},
        {"route": "lora", "across_steps": "merge_and_new"},
    ],
    ids=["dora", "mixlora", "adem", "full", "merged"],
)
def test_the_answers_of_other_routes_are_those_of_their_runs(
    adapter: dict, recipe_dict: dict, runner_of, small_world: Path, tmp_path: Path
) -> None:
    recipe = recipe_dict | {"adapter": {"dropout": 0} | adapter}
    if adapter["route"] == "full":
        recipe["train"] = recipe["train"] | {"learning_rate": 3.0e-4}
    runner_of(recipe)(tmp_path / "run")
    with open_chat(tmp_path / "run") as talker:
        assert answers_again(tmp_path / "run", talker, small_world)


def test_a_second_question_is_asked_after_the_first(run: Path, talker: Talker) -> None:
    (first, _), (other, _) = list(asked(run, "base", "caption"))[:2]
    reply = talker.answer([first], "base")
    again = [first, Message("assistant", reply.text), Message("user", first.text)]
    both = [first, Message("assistant", reply.text), Message("user", other.text, other.images)]
    alone = talker.answer([first], "base")
    assert talker.answer(again, "base").prompt_tokens > alone.prompt_tokens
    assert talker.answer(both, "base").prompt_tokens > talker.answer(again, "base").prompt_tokens


@pytest.mark.parametrize(
    ("messages", "step", "told"),
    [
        ([Message("user", "hello")], "3-none", "no such step"),
        ([Message("user", "  ")], "base", "nothing is asked"),
        ([Message("assistant", "hello")], "base", "out of turn"),
        ([Message("user", "a"), Message("assistant", "b")], "base", "nothing is asked"),
        ([Message("user", "what is <image> here?")], "base", "<image> in a text"),
        ([Message("user", "a </s> b")], "base", "special token"),
        ([Message("user", "word " * 4_000)], "base", "tokens and the model reads"),
    ],
)
def test_what_cannot_be_answered_is_told(
    talker: Talker, messages: list[Message], step: str, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        talker.answer(messages, step)
    assert talker.answer([Message("user", "hello")], "base").text is not None


def test_an_answer_ends_where_its_reader_leaves(run: Path, talker: Talker) -> None:
    (message, _), *_ = asked(run, "base", "caption")
    heard: list[str] = []

    def leave(piece: str) -> None:
        heard.append(piece)
        if len(heard) == 2:
            raise BrokenPipeError

    whole = talker.answer([message], "base")
    with pytest.raises(BrokenPipeError):
        talker.answer([message], "base", tell=leave)
    assert len(heard) == 2
    assert talker.answer([message], "base") == whole
    short = talker.answer([message], "base", Bounds(tokens=2))
    assert (short.tokens, short.ended, whole.ended) == (2, "length", "stop")
    assert whole.text.startswith(short.text)


def test_beams_are_told_at_the_end(run: Path, talker: Talker) -> None:
    (message, _), *_ = asked(run, "base", "caption")
    heard: list[str] = []
    reply = talker.answer([message], "base", Bounds(beams=3), tell=heard.append)
    assert heard == [reply.text]


def test_the_choice_is_learned_once_and_told_in_the_report(run: Path, talker: Talker) -> None:
    (message, _), *_ = asked(run, "base", "caption")
    choice = talker.answer([message], "auto").choice
    assert choice is not None and choice.skill == "caption" and choice.step in STEPS
    files = {file: file.read_bytes() for file in (run / FOLDER).iterdir()}
    assert sorted(file.name for file in files) == ["choice.json", "choice.npz"]
    measured = json.loads((run / FOLDER / "choice.json").read_bytes())["measured"]
    assert measured["questions"] == 6  # half of six of each benchmark
    assert "chose its step by itself" in (run / "report.html").read_text()
    with open_chat(run, lambda done, total: pytest.fail("learned again")) as again:
        assert again.answer([message], "auto").choice == choice
    assert files == {file: file.read_bytes() for file in (run / FOLDER).iterdir()}


def test_a_run_that_may_only_be_read_is_talked_to(
    run: Path, talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    (message, _), *_ = asked(run, "base", "caption")
    expected = talker.answer([message], "auto").choice
    monkeypatch.setattr(Chooser, "load", lambda *_: None)
    monkeypatch.setattr(Chooser, "save", refused)
    with open_chat(run) as again:
        assert again.answer([message], "auto").choice == expected


def test_the_command_serves_programs_until_it_is_stopped(run: Path) -> None:
    secret = "a-secret-of-the-environment"
    command = [sys.executable, "-c", "from stages.cli import adaptinf; adaptinf()"]
    with subprocess.Popen(
        [*command, "chat", str(run), "--api", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "ADAPTINF_API_TOKEN": secret, "PYTHONPATH": str(ROOT)},
        # Else it is deaf to it where the tests run in the background of a shell script.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]
        while said[-1] and not said[-1].startswith("base URL: "):
            said.append(process.stdout.readline())
        url = said[-1].removeprefix("base URL: ").strip()
        assert url, "".join(said)
        client = openai.OpenAI(base_url=url, api_key=secret, max_retries=0)
        assert [model.id for model in client.models.list()] == ["auto", *STEPS]
        asks = [{"role": "user", "content": "Repeat: red"}]
        assert client.chat.completions.create(model="1-llava", messages=asks).usage
        process.send_signal(signal.SIGINT)
        said.append(process.stdout.read())
        assert process.wait(60) == 130
    assert secret not in "".join(said)
    files = [file for file in run.rglob("*") if file.is_file()]
    assert not [file for file in files if secret.encode() in file.read_bytes()]


def test_adapters_that_are_merged_below_are_there(tmp_path: Path) -> None:
    def trained(step: str, base: torch.nn.Module, merged: list[str]) -> Path:
        model = attach(base, r=4, dropout=0.0)
        generator = torch.Generator().manual_seed(len(step))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        folder = tmp_path / "steps" / step / "train"
        save_adapter(model, folder / "adapter", "tiny")
        (folder / "adapter" / "lineage.json").write_text(json.dumps({"merged": merged}))
        record = {"fingerprint": step, "outputs": file_digests(folder)}
        write_record(folder, record)
        return folder / "adapter"

    def tiny() -> torch.nn.Module:
        return load_model(ModelSource("tiny"))

    first = trained("1-llava", tiny(), [])
    second = trained("2-mantis", merge(load_adapter(tiny(), first)), ["1-llava"])
    tasks = [{"dataset": "llava"}, {"dataset": "mantis"}]
    (tmp_path / "config.resolved.yaml").write_text(
        yaml.safe_dump({"output_dir": str(tmp_path), "tasks": tasks})
    )
    batch = {"input_ids": torch.tensor([[5, 9, 13, 17, 21]])}
    expected = {
        "base": tiny()(**batch).logits,
        "1-llava": load_adapter(tiny(), first).eval()(**batch).logits,
        "2-mantis": load_adapter(merge(load_adapter(tiny(), first)), second).eval()(**batch).logits,
    }
    with open_chat(tmp_path) as talker:
        for step in ("2-mantis", "base", "1-llava", "2-mantis", "1-llava"):
            with talker._models.at(step) as model, torch.no_grad():
                torch.testing.assert_close(model(**batch).logits, expected[step])
        assert talker.answer([Message("user", "hello")], "auto").step == "2-mantis"

    (first / "lineage.json").write_text("{}")
    with pytest.raises(UserError, match="not as it was written"), open_chat(tmp_path):
        pass


def test_the_model_may_be_loaded_otherwise(run: Path) -> None:
    with open_chat(run, settings=["model.dtype=bfloat16"]) as other:
        for step in STEPS[:2]:
            with other._models.at(step) as model:
                assert model.dtype == torch.bfloat16
        assert other.answer([Message("user", "Repeat: red")], "1-llava").tokens
    with pytest.raises(UserError, match="no setting of how"), open_chat(run, settings=["seed=1"]):
        pass


def test_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run here"), open_chat(tmp_path):
        pass
