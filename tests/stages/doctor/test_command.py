from __future__ import annotations

import json

import pytest
import typer

from stages.cli.doctor import examine_machine
from stages.doctor import launch, versions
from stages.doctor.finding import Check, Finding, Unseen, worst


def test_a_failure_is_told_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(typer.Exit) as end:
        examine_machine(json=True)
    assert end.value.exit_code == 1
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "fail"
    assert "launch" in [f["check"] for f in told["findings"] if f["verdict"] == "fail"]


def test_warnings_end_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [Finding("python", "warn", "an odd one", "look at it")]
    monkeypatch.setattr(versions, "python_version", lambda: given)
    monkeypatch.setattr(versions, "package_versions", lambda: ())
    examine_machine()
    assert capsys.readouterr().out.startswith(
        "warn  python: an odd one\n      -> look at it\nok    faiss: "
    )


def test_a_check_that_breaks_off_is_a_finding() -> None:
    def broken():
        yield Finding("device", "ok", "a card")
        raise RuntimeError("\nCUDA error: no kernel image\nmore")

    def unseen():
        raise Unseen("the model is not here")

    first, second = Check("device", broken, ("train",)).findings()
    assert (first.verdict, first.seen) == ("ok", "a card")
    assert (second.verdict, second.stages) == ("fail", ("train",))
    assert second.seen == "RuntimeError: CUDA error: no kernel image"
    [third] = Check("memory", unseen).findings()
    assert (third.verdict, third.seen) == ("warn", "not looked at: the model is not here")
    assert worst([first, third]) == "warn"
    assert worst([first, third, second]) == "fail"
    assert worst([]) == "ok"


@pytest.mark.parametrize(
    ("environment", "seen"),
    [
        ({"RANK": "1"}, "RANK is 1, but there is no WORLD_SIZE above 1"),
        ({"WORLD_SIZE": "two"}, "RANK or WORLD_SIZE is no number"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_PORT": "1"}, "RANK is 2, and WORLD_SIZE 2"),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "x"}, "MASTER_PORT is 'x'"),
    ],
)
def test_a_launch_that_is_not_whole(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], seen: str
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    [finding] = [f for f in launch.launch() if f.verdict == "fail"]
    assert finding.seen.startswith(seen)
