# What follows is the same for every command. With -m, Ctrl-C reaches this shell alone, which hands it on.
set -m
mkdir -p -- "$logs" || exit 2
pids=() stop='' told=0 heard='' result=0

say() { echo "$(date +%FT%T) $*" >&2; }

# Part $1 to its end.
one() {
    local part=$1 run='' asked='' deaths=0 code
    hear() {
        heard=yes asked=yes
        test -z "$run" || kill -"$1" "$run"
    }
    trap 'hear INT' INT
    trap 'hear TERM' TERM
    trap 'hear USR1' USR1
    while :; do
        "${command[@]}" --shard "$part/$of" >> "$logs/$part.log" 2>&1 < /dev/null &
        run=$!
        test -z "$asked" || kill -TERM "$run"
        heard=yes
        # A signal ends `wait` before the run ends.
        while test -n "$heard"; do
            heard=''
            wait "$run"
            code=$?
        done
        run=''
        test "$code" -ne 0 || exit 0
        if test -n "$asked" || test "$deaths" -ge "$retries"; then break; fi
        # 130 is a person's Ctrl-C; other codes above 128 are deaths.
        if test "$code" -ne 75 && { test "$code" -le 128 || test "$code" -eq 130; }; then break; fi
        deaths=$((deaths + 1))
        say "part $part/$of: stopped or killed (exit code $code), begun again, $deaths of at most $retries times"
    done
    say "part $part/$of: exit code $code, see $logs/$part.log"
    exit "$code"
}

hand_on() {
    heard=yes stop=$1 told=${#pids[@]}
    for pid in ${pids[@]+"${pids[@]}"}; do kill -"$1" "$pid" 2> /dev/null; done
}

trap 'hand_on INT' INT
trap 'hand_on TERM' TERM
trap 'hand_on USR1' USR1
say "parts: ${#parts[@]}; what they say goes to $logs"
for part in "${parts[@]}"; do
    while test -z "$stop" && test "$(jobs -rp | wc -l)" -ge "$at_once"; do wait -n; done
    test -z "$stop" || break
    one "$part" &
    pids+=($!)
    # A signal that came before this one was known has not reached it.
    if test -n "$stop" && test "$told" -lt "${#pids[@]}"; then kill -"$stop" "$!"; fi
done
for pid in ${pids[@]+"${pids[@]}"}; do
    heard=yes
    while test -n "$heard"; do
        heard=''
        wait "$pid"
        code=$?
    done
    # What failed counts more than what is to be called again.
    if test "$code" -ne 0 && { test "$result" -eq 0 || test "$result" -eq 75; }; then result=$code; fi
done
if test "$result" -eq 0 && test "${#pids[@]}" -lt "${#parts[@]}"; then result=75; fi
exit "$result"
