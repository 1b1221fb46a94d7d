from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from adaptinf.errors import UserError
from adaptinf.notice import Interrupted, Notice


def test_it_is_heeded_where_it_is_asked_for() -> None:
    with Notice().listening("words") as notice:
        notice.heed()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            notice.heed()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_errors_after_it_are_a_part_of_the_end_but_for_mistakes() -> None:
    with pytest.raises(RuntimeError, match="lost"), Notice().listening("words"):
        raise RuntimeError("lost")
    with pytest.raises(Interrupted), Notice().listening("words"):
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("a worker is gone")
    with pytest.raises(UserError), Notice().listening("words"):
        os.kill(os.getpid(), signal.SIGTERM)
        raise UserError("a mistake")


def test_what_never_asks_is_ended_all_the_same() -> None:
    code = (
        "import os, signal, time; from adaptinf import notice; notice.GRACE_SECONDS = 0.1\n"
        "with notice.Notice().listening('it goes on'):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    while True: time.sleep(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "it goes on\n")
