"""A run's answers against servers on loopback: its own model, and models that are not."""

from __future__ import annotations

import base64
import io
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from adaptinf.adapters import load_adapter
from adaptinf.chat.server import Server
from adaptinf.chat.service import Service
from adaptinf.chat.talker import Bounds
from adaptinf.data.completions import image_part
from adaptinf.data.encoder import Encoder
from adaptinf.data.images import decode_image, load_image
from adaptinf.data.sample import IMAGE_MARK, Turn
from adaptinf.errors import UserError
from adaptinf.evaluation.generation import Generator
from adaptinf.models.loading import ModelSource, load_model, load_processor
from adaptinf.models.preprocessing import preprocessing
from config import load_recipe
from stages.chat import open_chat
from stages.cli.guard import guarded, umbrella
from stages.cli.serving import check_server
from stages.context import encoder_of
from stages.manager import open_context
from stages.serving import Compared, Order, Parity, _shares, check_served, total

STEP = "2-mantis"


class Served:
    """A model behind ``chat/completions``; answers one request at a time."""

    def __init__(self, model: Any, encoder: Encoder) -> None:
        self.model, self.encoder = model, encoder
        self.asked: list[dict[str, Any]] = []
        self.fault: tuple[int, bytes] | None = None
        self.url = ""
        self._alone = threading.Lock()

    def answer(self, body: dict[str, Any]) -> str:
        (message,) = body["messages"]
        parts = message["content"]
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        images = [decode_image(base64.b64decode(url.partition(",")[2]), "url") for url in urls]
        (text,) = (part["text"] for part in parts if part["type"] == "text")
        turns = [[Turn("user", IMAGE_MARK * len(images) + text)]]
        with self._alone, torch.inference_mode():
            self.asked.append(body)
            batch = self.encoder.encode_prompts(turns, [images])
            ids = self.model.generate(**batch, max_new_tokens=body["max_tokens"], do_sample=False)
        fresh = ids[:, batch["input_ids"].shape[1] :]
        return self.encoder.processor.batch_decode(fresh, skip_special_tokens=True)[0]


def _serve(served: Served, stack: ExitStack) -> Served:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, content = served.fault or (200, b"")
            if not content:
                message = {"role": "assistant", "content": served.answer(body)}
                content = json.dumps({"choices": [{"message": message}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{httpd.server_port}/v1"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    stack.callback(httpd.server_close)
    stack.callback(thread.join)
    stack.callback(httpd.shutdown)
    return served


@pytest.fixture(scope="module")
def run(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose last adapter is three times as strong, so that most of its answers are its own.

    They are given anew, in batches, as evaluation gives them.
    """
    run = tmp_path_factory.mktemp("served") / "run"
    shutil.copytree(undisturbed, run)
    step = run / "steps" / STEP
    weights = step / "train" / "adapter" / "adapter_model.safetensors"
    strong = {k: 3 * v if "lora_B" in k else v for k, v in load_file(weights).items()}
    save_file(strong, weights, metadata={"format": "pt"})
    context = open_context(
        load_recipe(run / "config.resolved.yaml", [f"output_dir={run}"]), scratch=run
    )
    model = load_adapter(load_model(ModelSource("tiny")), weights.parent).eval()
    generator = Generator(model, context.encoder, 4)
    for benchmark in context.benchmarks:
        file = step / "evaluate" / benchmark.name / "predictions.jsonl"
        questions = context.questions(benchmark)
        texts = generator.answer(benchmark, questions, file.with_name("partial.jsonl"))
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        told = [json.dumps({**row, "text": text}) for row, text in zip(rows, texts, strict=True)]
        file.write_text("".join(line + "\n" for line in told))
    return run


@pytest.fixture(scope="module")
def adapted(run: Path) -> Iterator[Served]:
    """The model as it was after the last step."""
    folder = run / "steps" / STEP / "train" / "adapter"
    model = load_adapter(load_model(ModelSource("tiny")), folder).eval()
    with ExitStack() as stack:
        yield _serve(Served(model, encoder_of(ModelSource("tiny"))), stack)


@pytest.fixture(scope="module")
def base() -> Iterator[Served]:
    source = ModelSource("tiny")
    with ExitStack() as stack:
        yield _serve(Served(load_model(source), encoder_of(source)), stack)


def invoke(*arguments: object) -> Any:
    app = umbrella("")
    app.command("serve-check")(guarded(check_server, ""))
    return CliRunner().invoke(app, ["serve-check", *map(str, arguments)])


def test_the_run_s_own_model_passes(run: Path, adapted: Served) -> None:
    done = invoke(adapted.url, run)
    assert done.exit_code == 0, done.output
    assert f"the server answers as {STEP} did (at least 95 % equal, 1 points off)" in done.output
    bodies = adapted.asked
    assert len(bodies) == 12
    assert {(body["model"], body["temperature"]) for body in bodies} == {(STEP, 0)}
    assert any(isinstance(body["messages"][0]["content"], list) for body in bodies)


def test_an_adapter_tells_by_what_it_was_trained(undisturbed: Path) -> None:
    told = preprocessing(load_processor(ModelSource("tiny")))
    for step in ("1-llava", STEP):
        lineage = undisturbed / "steps" / step / "train" / "adapter" / "lineage.json"
        assert json.loads(lineage.read_text())["processor"] == told


def test_the_base_model_fails(run: Path, base: Served) -> None:
    done = invoke(base.url, run)
    assert done.exit_code == 1, done.output
    assert f"the server does not answer as {STEP} did" in done.output
    # What it says is what the run has of it.
    parity = check_served(Order(base.url, run))
    assert total(parity.base).equal <= total(parity.base).rows / 2
    own = [(one.benchmark, one.equal, one.served) for one in parity.base]
    assert [(one.benchmark, one.equal, one.served) for one in parity.served] == own


def test_the_base_model_passes_as_itself_and_rows_are_spread(run: Path, base: Served) -> None:
    base.asked.clear()
    done = invoke(base.url, run, "--step", 0, "--rows", 5, "--model", "mine")
    assert done.exit_code == 0, done.output
    assert "the server answers as 0-base did" in done.output
    assert [body["model"] for body in base.asked] == ["mine"] * 5
    one = check_served(Order(base.url, run, step=0, rows=1))
    assert [compared.rows for compared in one.served] == [1]


def test_a_chat_s_door_answers_as_every_step_was_scored(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    monkeypatch.setenv("ADAPTINF_SERVER_KEY", "token-of-the-door")
    with open_chat(run) as talker:
        service = Service(talker, "token-of-the-door", Bounds(tokens=64), {})
        with Server(service, "127.0.0.1", 0) as server, ExitStack() as stack:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            url = f"{server.url}/v1"
            for step in (0, 1, 2):
                told = total(check_served(Order(url, run, step)).served)
                assert (told.equal, told.off) == (told.rows, 0.0)
            other = check_served(Order(url, run, model="base"))
            assert other.served == other.base
            monkeypatch.delenv("ADAPTINF_SERVER_KEY")
            with pytest.raises(UserError, match=r"401.*ADAPTINF_SERVER_KEY"):
                check_served(Order(url, run))


def test_questions_that_cannot_tell_are_not_a_pass(run: Path, base: Served, tmp_path: Path) -> None:
    """A step whose answers are all those of the base model."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for name in ("caption", "more"):
        there = [copy / "steps" / step / "evaluate" / name for step in ("0-base", STEP)]
        shutil.copy2(there[0] / "predictions.jsonl", there[1] / "predictions.jsonl")
    done = invoke(base.url, copy)
    assert done.exit_code == 1
    assert "cannot tell the step from the base model" in done.output


def test_a_server_that_refuses_and_runs_that_are_none(
    run: Path, base: Served, tmp_path: Path
) -> None:
    base.fault = (404, b'{"error": {"message": "no model 2-mantis"}}')
    try:
        done = invoke(base.url, run)
    finally:
        base.fault = None
    assert done.exit_code == 2
    assert "the server refuses: the server answers 404" in done.output
    assert "no model 2-mantis" in done.output
    with pytest.raises(UserError, match="no run here"):
        check_served(Order(base.url, tmp_path))
    with pytest.raises(UserError, match=r"no such step.*0 \(the base model\) to 2"):
        check_served(Order(base.url, run, step=3))
    with pytest.raises(UserError, match="not the address of a server"):
        check_served(Order("localhost", run))


def test_a_benchmark_that_has_changed_is_told(run: Path, base: Served, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    file = copy / "steps" / STEP / "evaluate" / "more" / "predictions.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["prompt"] += " changed"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="1 questions of more are not what the step was asked"):
        check_served(Order(base.url, copy))


def test_what_is_close_enough() -> None:
    order = Order("", Path(), equal=95, tolerance=1.0)
    whole = [Compared("a", 150, 150, 40.0, 40.0), Compared("b", 50, 40, 60.0, 63.0)]
    assert total(whole) == Compared("all", 200, 190, 45.0, 45.75)
    far = (Compared("a", 200, 20, 45.0, 10.0),)
    assert Parity("1-a", tuple(whole), far, order).holds
    assert not Parity("1-a", tuple(whole), tuple(whole), order).holds
    assert not Parity("1-a", (Compared("a", 200, 189, 45.0, 45.0),), far, order).holds
    assert not Parity("1-a", (Compared("a", 200, 200, 45.0, 46.1),), far, order).holds


def test_small_benchmarks_leave_their_share_to_others() -> None:
    class Sized:
        def __init__(self, size: int) -> None:
            self.questions = [None] * size

    parts: Any = [Sized(500), Sized(10), Sized(90)]
    assert _shares(parts, 200) == [100, 10, 90]
    assert _shares(parts, 6) == [2, 2, 2]
    assert _shares(parts, 5000) == [500, 10, 90]
    assert _shares(parts, 2) == [1, 0, 1]


def test_images_travel_with_the_pixels_that_were_scored(tmp_path: Path) -> None:
    image = Image.linear_gradient("L").resize((20, 10)).convert("RGB")
    turned = image.getexif()
    turned[0x0112] = 6
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "turned.jpg", exif=turned, quality=95)
    image.save(tmp_path / "misnamed.jpg", "gif")
    for name, kind in (("plain.png", "png"), ("turned.jpg", "png"), ("misnamed.jpg", "png")):
        part: Any = image_part(tmp_path / name)
        head, _, code = part["image_url"]["url"].partition(",")
        assert head == f"data:image/{kind};base64"
        with Image.open(io.BytesIO(base64.b64decode(code))) as sent:
            own = load_image(tmp_path / name)
            assert sent.convert("RGB").tobytes() == own.tobytes()
            assert sent.size == own.size
    photo = tmp_path / "photo.jpg"
    image.save(photo)
    part = image_part(photo)
    assert base64.b64decode(part["image_url"]["url"].partition(",")[2]) == photo.read_bytes()
