#!/bin/sh
# The only build recipe of the NIF library: rebar.config and mix.exs both call it.
#
#   native/build.sh            build priv/py_nif.so, if anything it depends on has changed
#   native/build.sh --python   check the chosen Python and print its executable
#   native/build.sh --rust     check the Rust toolchain and print its version
#   native/build.sh --rust-package   print the package from which apt would install a new enough
#                                    Rust; nothing if there is none
#
# PYO3_PYTHON names the Python to link (default: python3 on PATH), PY_NIF_PROFILE the profile of
# Cargo (default: release; dev for a debugger), CARGO_TARGET_DIR the place of Cargo's files
# (default: target/). Silent unless something is built or wrong. An error is one sentence that names
# what to install.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"

out=priv/py_nif.so
stamp=priv/.py_nif.stamp

fail() {
    printf 'py_context_router: %s\n' "$*" >&2
    exit 1
}

# --- which Python --------------------------------------------------------------------------

# One run of the interpreter answers everything: a version manager's shim costs more than all of
# the rest. Its first line of output is "ok" or the sentence to show. sys.executable is the real
# one behind a shim, and stays a virtual environment's own where that is what was asked for.
# Written for Python 2.7 upwards, to distinguish an old Python from a broken one.
probe='
import os, sys
def check():
    v = "%d.%d.%d" % sys.version_info[:3]
    x = "%d.%d" % sys.version_info[:2]
    exe = sys.executable
    if not (3, 10) <= sys.version_info[:2] <= (3, 14):
        return ("%s is Python %s, and 3.10 to 3.14 are supported: install one of them (on Debian "
                "and Ubuntu: apt-get install python3-dev) and name it in PYO3_PYTHON." % (exe, v))
    if sys.implementation.name != "cpython":
        return ("%s is %s, and only CPython can be linked: install it (on Debian and Ubuntu: "
                "apt-get install python3-dev) and name it in PYO3_PYTHON."
                % (exe, sys.implementation.name))
    import sysconfig
    var = sysconfig.get_config_var
    if var("Py_GIL_DISABLED") and sys.version_info[:2] < (3, 14):
        return ("%s is a free-threaded Python %s, and of these only 3.14 can be linked: install "
                "it, or a Python %s with a GIL, and name it in PYO3_PYTHON." % (exe, v, x))
    pyenv = os.sep + "versions" + os.sep in sys.base_prefix
    if pyenv:
        shared = headers = ("PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install --force %s"
                            % os.path.basename(sys.base_prefix))
    else:
        shared = headers = "apt-get install python%s-dev" % x
        if not sys.base_prefix == "/usr":
            shared = "PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install %s" % v
    conda = os.path.isdir(os.path.join(sys.base_prefix, "conda-meta"))
    if not (var("Py_ENABLE_SHARED") or conda):
        return ("%s (Python %s) was built without a shared libpython, which is needed to embed "
                "it: install one that has it (%s)." % (exe, v, shared))
    lib = "libpython%s.so" % (var("LDVERSION") or x)
    if not os.path.exists(os.path.join(var("LIBDIR") or "", lib)):
        return ("%s (Python %s) lacks its shared library %s in %s: install it (%s)."
                % (exe, v, lib, var("LIBDIR"), shared))
    include = sysconfig.get_path("include")
    if not os.path.exists(os.path.join(include, "Python.h")):
        return ("%s (Python %s) lacks its header Python.h in %s: install it (%s)."
                % (exe, v, include, headers))
    return None
problem = check()
if problem:
    print(problem)
else:
    import sysconfig
    var = sysconfig.get_config_var
    print("ok")
    print(sys.executable)
    print("%d.%d.%d" % sys.version_info[:3])
    print(var("LDVERSION"))
    print(var("LIBDIR"))
'

find_python() {
    asked=${PYO3_PYTHON:-python3}
    if ! command -v "$asked" >/dev/null 2>&1; then
        if [ -n "${PYO3_PYTHON:-}" ]; then
            fail "PYO3_PYTHON is $asked, which is not there or not executable: install that" \
                "Python or name another (the default is python3; on Debian and Ubuntu:" \
                "apt-get install python3-dev)."
        fi
        fail "there is no python3 on PATH: install Python 3.10 to 3.14 with its shared library" \
            "(on Debian and Ubuntu: apt-get install python3-dev) or name one in PYO3_PYTHON."
    fi
    # -E and -s: what gets linked must not depend on PYTHONHOME, PYTHONPATH or the user's site.
    if ! answer=$("$asked" -E -s -c "$probe" 2>/dev/null); then
        fail "$asked does not run as a Python: install Python 3.10 to 3.14 with its" \
            "shared library (on Debian and Ubuntu: apt-get install python3-dev) or name one in" \
            "PYO3_PYTHON."
    fi
    case $answer in
        "ok
"*) ;;
        *) fail "$answer" ;;
    esac
    python=$(printf '%s\n' "$answer" | sed -n 2p)
    python_version=$(printf '%s\n' "$answer" | sed -n 3p)
}

# --- which Rust ----------------------------------------------------------------------------

wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)

# at_least 1.91 1.63.0: whether the second is as new as the first.
at_least() {
    printf '%s %s\n' "$1" "$2" | awk '{
        split($1, wanted, "."); split($2, there, ".")
        exit !(there[1] + 0 > wanted[1] + 0 ||
               there[1] + 0 == wanted[1] + 0 && there[2] + 0 >= wanted[2] + 0)
    }'
}

# apt_offers PACKAGE: the version that apt would install, nothing if there is none.
apt_offers() {
    command -v apt-cache >/dev/null 2>&1 || return 0
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([0-9].*\)/\1/p'
}

# Debian's cargo package is of the release of its rustc, whose version is the one that counts.
rust_package() {
    offered=$(apt_offers rustc)
    [ -z "$offered" ] || ! at_least "$wanted" "$offered" || printf 'cargo\n'
}

# What to type here: not every release has a Rust that is new enough, nor a rustup, nor is curl
# there from the start.
how_to_get_rust() {
    rustup='curl https://sh.rustup.rs -sSf | sh -s -- -y'
    if [ -n "$(rust_package)" ]; then
        printf 'apt-get install %s' "$(rust_package)"
    elif at_least 1.27 "$(apt_offers rustup)"; then
        printf 'apt-get install rustup && rustup default stable'
    elif ! command -v curl >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
        printf 'apt-get install curl ca-certificates && %s' "$rustup"
    else
        printf '%s' "$rustup"
    fi
}

find_rust() {
    if ! command -v cargo >/dev/null 2>&1; then
        # rustup's directory is on PATH only after a new login.
        PATH=$PATH:${CARGO_HOME:-${HOME:-/nonexistent}/.cargo}/bin
        export PATH
    fi
    command -v cargo >/dev/null 2>&1 ||
        fail "there is no Rust here, and $wanted or newer is needed: $(how_to_get_rust)"
    rust_version=$("${RUSTC:-rustc}" --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p')
    [ -n "$rust_version" ] ||
        fail "there is a cargo but no working rustc, and Rust $wanted or newer is needed:" \
            "$(how_to_get_rust)"
    if ! at_least "$wanted" "$rust_version"; then
        how='rustup update stable'
        command -v rustup >/dev/null 2>&1 || how=$(how_to_get_rust)
        fail "Rust is $rust_version here ($(command -v cargo)), and $wanted or newer is needed:" \
            "$how"
    fi
}

# --- the build -----------------------------------------------------------------------------

# The stamp holds what the library was built for and is as old as the start of that build.
up_to_date() {
    [ -f "$out" ] && [ -f "$stamp" ] || return 1
    [ "$(cat "$stamp")" = "$identity" ] || return 1
    [ -z "$(find Cargo.toml Cargo.lock native -newer "$stamp" -print 2>/dev/null | head -n 1)" ]
}

build() {
    [ "$(uname -s)" = Linux ] ||
        fail "this release builds on Linux only, and this is $(uname -s)."
    find_python
    profile=${PY_NIF_PROFILE:-release}
    identity=$(printf '%s\n' "$root" "$answer" "${CARGO_TARGET_DIR:-}" "${RUSTFLAGS:-}" "$profile" |
        cksum)
    if up_to_date; then
        return 0
    fi
    find_rust
    printf 'py_context_router: building the NIF library for Python %s (%s)\n' \
        "$python_version" "$python"

    mkdir -p priv
    new=priv/.py_nif.$$
    trap 'rm -f "$new.stamp" "$new.so" "$new.json"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '%s\n' "$identity" >"$new.stamp"

    # Cargo says itself where the library landed, so that CARGO_TARGET_DIR, a build.target-dir or
    # a build.target in somebody's Cargo configuration need no knowledge here.
    PYO3_PYTHON=$python
    RUSTLER_PRIMARY_NIF_INIT=1
    export PYO3_PYTHON RUSTLER_PRIMARY_NIF_INIT
    if ! cargo build --profile "$profile" --locked -p py_nif \
        --message-format=json-render-diagnostics >"$new.json"; then
        command -v cc >/dev/null 2>&1 ||
            fail "there is no C compiler to link with: install one (on Debian and Ubuntu:" \
                "apt-get install gcc libc6-dev)."
        fail "cargo could not build the NIF library; its messages are above."
    fi
    built=$(sed -n 's/.*"filenames":\["\([^"]*libpy_nif\.so\)".*/\1/p' "$new.json" | tail -n 1)
    [ -n "$built" ] && [ -f "$built" ] || fail "cargo built no libpy_nif.so."

    # A new file under the old name: a running VM keeps the one it has mapped.
    if ! cmp -s "$built" "$out"; then
        cp "$built" "$new.so"
        mv -f "$new.so" "$out"
    fi
    mv -f "$new.stamp" "$stamp"
}

case ${1:-} in
    '') build ;;
    --python)
        find_python
        printf '%s\n' "$python"
        ;;
    --rust)
        find_rust
        printf '%s\n' "$rust_version"
        ;;
    --rust-package) rust_package ;;
    *) fail "unknown option $1: native/build.sh takes none, --python, --rust or --rust-package." ;;
esac
