#!/usr/bin/env bash
# Runs each test of a test program in a process of its own, as many at a time as there are cores: `each.sh PROGRAM [FLAG ...]`,
# with flags of the program's (`--ignored`). libtorch has one random generator and one count of threads for a process.
set -euo pipefail
program=$1
shift
one() {
    local test=$1 said code=0
    shift
    said=$("$@" --exact "$test" 2>&1) || code=$?
    printf '%s\n' "$said" | grep -vE '^(running 1 test)?$'
    return "$code"
}
export -f one
# `nproc` alone would obey OMP_NUM_THREADS.
"$program" --list "$@" | sed -n 's/: test$//p' | xargs -P "$(env -u OMP_NUM_THREADS nproc)" -I '{}' bash -c 'one "$@"' each '{}' "$program" "$@"
