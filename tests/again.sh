#!/usr/bin/env bash
# Runs a test program unless it has passed as it is: `again.sh [WRAPPER] PROGRAM [ARGUMENT ...]`, as Cargo's runner.
#
# As it is: the same bytes of the program and of what it STARTS, arguments, files of the project, packages, variables and machine.
# Sources and texts are not among these files. Only tests of the modules in READERS read them, and those are run always.
# AGAIN=1 runs all; so does who is not in a checkout.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if test -n "${AGAIN:-}" || ! git -C "$root" rev-parse --git-dir > /dev/null 2>&1; then exec "$@"; fi

program=$1
case $program in *.sh) program=$2 ;; esac
built=$(dirname "$program")/..

files() {
    cd "$root"
    { git ls-files -z; git ls-files -z --others --exclude-standard -- examples manifests onnx pipelines tests training; } \
        | grep -zvE '[.](rs|md)$' | xargs -0 sha256sum 2>&1 || true
}

machine() {
    uname -srm
    grep -E '^(model name|flags)' /proc/cpuinfo
    "${PYTHON:-python3}" --version
    dpkg-query --show 2> /dev/null || true
    stat -c '%n %Y' "$root"/.runtime/*/.[0-9]*
    env | grep -E '^(ATEN|DNNL|EGOFX|LD|LIBTORCH|MKL|ONEDNN|OMP|ORT|PATH|PYTHON)' | sort
}

key() {
    { printf '%s\n' "$@"; sha256sum "$program" "${STARTS[@]/#/$built/}"; files; machine; } | sha256sum | cut -d ' ' -f 1
}

code=0
read -ra STARTS <<< "${STARTS:-}"
case $program in */it-*) read -ra readers <<< "${READERS:-}" ;; *) readers=() ;; esac
if test ${#readers[@]} -gt 0; then "$@" "${readers[@]}" || code=$?; fi
passed=$built/passed/$(key "$@")
if test -e "$passed"; then
    echo "not run, for it passed as it is on $(cat "$passed"): $* (AGAIN=1 runs it)"
elif "$@" "${readers[@]/#/--skip=}"; then
    mkdir -p "$built/passed"
    date '+%F at %T' > "$passed"
else
    code=$?
fi
exit "$code"
