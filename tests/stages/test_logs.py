"""What goes into a rank's log, and what of it is heard on the console."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers.utils import logging as messages

from adaptinf.console.text import scrubbed
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.notice import Interrupted
from stages.logs import log_file, logged

LEADER, OTHER = Ranks(0, 2), Ranks(1, 2)
SECRET = "sk-0123456789secret"


@pytest.fixture(params=[False, True], ids=["apart", "handed on"])
def console(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> Iterator[object]:
    """Both streams of the process, in which libraries print errors alone, as in a run.

    Transformers hands its messages on to the root logger where ``CI`` is set, and else does not.
    """
    monkeypatch.setenv("ADAPTINF_JUDGE_KEY", SECRET)
    before = messages.get_verbosity()
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", request.param)
    messages.set_verbosity_error()
    yield capfd
    messages.set_verbosity(before)


def speak(error: BaseException | None = None) -> None:
    """All ways in which a library speaks."""
    print("printed", end="")
    print(" in parts")
    warnings.warn("an odd thing", stacklevel=1)
    logging.getLogger("some.library").warning("of a library, with %s", SECRET)
    logging.getLogger("transformers.trainer").warning("of transformers")
    logging.getLogger("some.library").info("not worth a line")
    if error:
        raise error


def test_a_rank_that_does_not_lead_is_heard_in_its_log_alone(
    tmp_path: Path, console: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended, logged(tmp_path, OTHER):
        speak(RuntimeError(f"no luck with {SECRET}"))
    assert ended.value.code == 1
    file = log_file(tmp_path, 1)
    out, err = console.readouterr()
    assert out == ""
    assert err == f"rank 1: RuntimeError: no luck with <ADAPTINF_JUDGE_KEY> (see {file})\n"
    log = file.read_text()
    assert SECRET not in log
    told = ("printed in parts", "UserWarning: an odd thing", "of transformers", "Traceback (most")
    for text in (*told, "library, with <ADAPTINF_JUDGE_KEY>", "no luck with <ADAPTINF_JUDGE_KEY>"):
        assert log.count(text) == 1, text
    assert "not worth a line" not in log
    assert "start: rank 1 of 2, process " in log.splitlines()[0]
    assert not (tmp_path / "logs/rank-0.log").exists()


def test_the_leader_speaks_as_ever_and_in_its_log(
    tmp_path: Path, console: pytest.CaptureFixture
) -> None:
    with pytest.warns(UserWarning, match="an odd thing"), logged(tmp_path, LEADER):
        speak()
    with pytest.raises(UserError, match="no such"), logged(tmp_path, LEADER):
        raise UserError("no such thing")
    out, err = console.readouterr()
    assert out == "printed in parts\n"
    assert "Traceback" not in err
    lines = log_file(tmp_path, 0).read_text().splitlines()
    assert len([line for line in lines if "start: rank 0 of 2" in line]) == 2
    assert any("an odd thing" in line for line in lines)
    assert lines[-1] == "adaptinf.errors.UserError: no such thing"


def test_mistakes_and_notices_have_their_status(
    tmp_path: Path, console: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended, logged(tmp_path, OTHER):
        raise UserError("no such thing", hint="take another")
    assert ended.value.code == 2
    assert console.readouterr().err == "rank 1: no such thing; take another\n"
    with pytest.raises(SystemExit) as ended, logged(tmp_path, OTHER):
        raise Interrupted
    assert ended.value.code == 0
    with pytest.raises(Interrupted), logged(tmp_path, LEADER):
        raise Interrupted
    assert console.readouterr().err == ""
    assert log_file(tmp_path, 0).read_text().endswith("stopped by notice\n")


def test_nothing_is_left_behind(tmp_path: Path, console: pytest.CaptureFixture) -> None:
    before = (sys.stdout, sys.stderr, warnings.showwarning, logging.getLogger().handlers[:])
    library = logging.getLogger("transformers")
    level, handlers = library.level, [(one, one.level) for one in library.handlers]
    for ranks in (LEADER, OTHER):
        with logged(tmp_path, ranks):
            pass
    now = (sys.stdout, sys.stderr, warnings.showwarning, logging.getLogger().handlers[:])
    assert now == before
    if handlers:
        assert (library.level, [(one, one.level) for one in library.handlers]) == (level, handlers)


def test_short_words_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "a")
    assert scrubbed("a cat") == "a cat"
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    assert scrubbed("Bearer hf_abcdefgh") == "Bearer <HF_TOKEN>"
