#!/usr/bin/env bash
# Set up .venv and run every check: ruff, mypy, pytest. Arguments go to pytest, which runs the test
# files on as many processes as there are cores.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/python -m pytest -n logical --maxprocesses 8 --dist loadfile "$@"
