#!/usr/bin/env bash
# Set up .venv and run every check: ruff, mypy, pytest. Arguments go to pytest, which runs the test
# files on as many processes as there are cores. With another set of versions, as in
# CONSTRAINTS=constraints-oldest.txt scripts/test.sh, the tests alone run, in a .venv of that set.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install test
if [ "$venv" = .venv ]; then
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy
fi
"$venv/bin/python" -m pytest -n logical --maxprocesses 8 --dist loadfile "$@"
