#!/usr/bin/env bash
# Install the project into .venv and run the whole lifelong sequence on the small world that ships
# with it: no download but the packages, no account, no GPU.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install ""
"$venv/bin/run-lifelong" configs/quickstart.yaml "$@"
