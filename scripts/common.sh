# Sourced by the other scripts: makes .venv in the checkout and installs the project into it.
# Needs Python 3.11 or newer and a package index; nothing else is fetched.
# CONSTRAINTS names another set of versions: constraints-oldest.txt goes into .venv-oldest.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}"
constraints="${CONSTRAINTS:-constraints.txt}"
set_name="$(basename "$constraints" .txt)"
venv=".venv${set_name#constraints}"

say() { printf '%s\n' "$*" >&2; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    say "Python 3.11 or newer is needed; $("$python" --version 2>&1) was found. Set PYTHON to another one."
    exit 2
}

[ -f "$constraints" ] || {
    say "no such file: $constraints; there are: $(echo constraints*.txt)"
    exit 2
}

install() { # install EXTRA[,EXTRA]: what is installed already is left alone
    local extras="$1" flavour=cpu stamp
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then
        flavour=gpu
    fi
    stamp="$(cat setup.py "$constraints" | cksum) $flavour $extras"
    if [ -x "$venv/bin/run-lifelong" ] && grep -qxF "$stamp" "$venv/installed" 2>/dev/null; then
        return
    fi
    say "installing into $venv ($flavour); once, and some minutes long"
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    local pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$constraints")
    # torch comes first, so that nothing else decides which build it is.
    if [ "$flavour" = cpu ] && ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
        # An index with CPU builds calls them +cpu. Where there is none, the plain name is taken,
        # and that may bring CUDA libraries along (several GB, unused).
        "${pip[@]}" "torch==$(sed -n 's/^torch==//p' "$constraints")+cpu" 2>/dev/null ||
            say "the package index has no CPU-only build of torch; taking its default build"
    fi
    "${pip[@]}" torch
    "${pip[@]}" -e ".[$flavour${extras:+,$extras}]"
    printf '%s\n' "$stamp" >>"$venv/installed"
}
