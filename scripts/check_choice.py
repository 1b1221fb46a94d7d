"""How often ``adaptinf chat`` chooses the right step by itself, on held-out questions of a run.

Learns the choice of a finished run anew, and writes docs/choice.json and the table of docs/chat.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from pages import markdown, put
from stages.chat import FOLDER, open_chat

HEADS = {"what": "held-out questions", "percent": "%"}
_DOCS = Path(__file__).parents[1] / "docs"


def lines(measured: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of the table; see ``adaptinf.chat.learning.Measured``."""
    low, high = measured["interval"]
    told = {
        "sent to a step that is the best on their skill, or not told from it by them": "right",
        "sent to the step with exactly the best score on them": "equal",
        "whose skill is seen": "skills",
        "answers right, by `auto`": "auto",
        "answers right, by the latest step alone": "latest",
        "answers right, by the best step of each skill": "best",
    }
    rows = [{"what": what, "percent": f"{measured[key]:.1f}"} for what, key in told.items()]
    rows[0]["percent"] += f" ({low:.1f} to {high:.1f})"
    return rows


def main() -> None:
    """Learn, write, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="as made by configs/quickstart.yaml")
    run = parser.parse_args().run
    shutil.rmtree(run / FOLDER, ignore_errors=True)
    with open_chat(run):
        measured = json.loads((run / FOLDER / "choice.json").read_bytes())["measured"]
    (_DOCS / "choice.json").write_text(json.dumps(measured, indent=1) + "\n")
    table = markdown(HEADS, lines(measured))
    put(_DOCS / "chat.md", "docs/choice.json", table)
    print(table)


if __name__ == "__main__":
    main()
