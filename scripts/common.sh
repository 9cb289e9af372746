# shellcheck shell=bash
# What the scripts share; sourced, never run. Changes nothing by being read.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
RUN_DIR="$ROOT/.run"

say() { printf '==> %s\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# What root makes in somebody's working tree stays theirs.
own_like_the_tree() {
    if is_root && [ "$(stat -c %u "$ROOT")" -ne 0 ]; then
        chown -R --reference="$ROOT" "$@"
    fi
}

make_run_dir() {
    mkdir -p "$RUN_DIR" 2>/dev/null || true
    [ -w "$RUN_DIR" ] || die "$RUN_DIR cannot be written: remove it (as root)"
    own_like_the_tree "$RUN_DIR"
}

# Debian packages among the arguments that are not installed, one a line.
missing_packages() {
    local package status
    for package in "$@"; do
        status="$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)"
        [ "$status" = installed ] || printf '%s\n' "$package"
    done
}

# Install those packages that are missing; 1 when that cannot be done here, with the line that would do it.
# SERVICES=no keeps what they bring from being started.
install_packages() {
    local missing policy=/usr/sbin/policy-rc.d made_policy=no failed=no
    if ! have dpkg-query || ! have apt-get; then
        printf 'This is no Debian: have these programs in PATH yourself (Debian packages): %s\n' "$*" >&2
        return 1
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    if ! is_root; then
        printf 'Missing. Install with: sudo apt-get install --no-install-recommends %s\n' "${missing[*]}" >&2
        return 1
    fi
    say "installing Debian packages: ${missing[*]}"
    make_run_dir
    if [ "${SERVICES:-yes}" = no ] && [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made_policy=yes
    fi
    {
        # One broken source of many fails an update, and need not keep the packages from being installed.
        apt-get update || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
    } >"$RUN_DIR/apt.log" 2>&1 </dev/null || failed=yes
    [ "$made_policy" = no ] || rm -f "$policy"
    if [ "$failed" = yes ]; then
        tail -n 15 "$RUN_DIR/apt.log" >&2
        printf 'apt-get failed; all of its output is in %s\n' "$RUN_DIR/apt.log" >&2
        return 1
    fi
}

# The interpreter to build the virtual environment with: PYTHON, or the first that is new enough.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3 /usr/bin/python3}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# Make .venv hold this package and what it needs (with "dev" also the tools); quick when it does already.
ensure_venv() {
    local extras="$1" python stamp want
    want="$(sha256sum <"$ROOT/pyproject.toml") $ROOT"
    if "$VENV/bin/python" -c '' 2>/dev/null; then
        for stamp in "$VENV/.installed-dev" "$VENV/.installed-$extras"; do
            if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then return 0; fi
        done
    else
        if ! python="$(find_python)"; then
            is_root || die "Python 3.11 or newer is missing. Install with: sudo apt-get install python3 python3-venv"
            install_packages python3 python3-venv || die "Python 3.11 or newer is missing"
            python="$(find_python)" || die "no Python 3.11 or newer; name one with PYTHON=..."
        fi
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            is_root || die "Python's venv module is missing. Install with: sudo apt-get install python3-venv"
            install_packages python3-venv || die "Python's venv module is missing"
        fi
        say "making the virtual environment .venv with $("$python" --version)"
        rm -rf "$VENV"
        "$python" -m venv "$VENV"
    fi
    say "installing the Python packages of pyproject.toml into .venv${extras:+ ($extras)}"
    local target="$ROOT"
    [ "$extras" != dev ] || target="${ROOT}[dev]"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$target" ||
        die "pip could not install them; see above"
    printf '%s\n' "$want" >"$VENV/.installed-$extras"
    own_like_the_tree "$VENV"
}
