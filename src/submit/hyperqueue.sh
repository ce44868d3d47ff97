# What follows is the same for every command.
part=${HQ_TASK_ID:?this script is for hq submit}
mkdir -p -- "$logs" || exit 2
exec >> "$logs/hq-${HQ_JOB_ID}_$part.log" 2>&1
run='' asked='' heard='' deaths=0

say() { echo "$(date +%FT%T) part $part/$of, job ${HQ_JOB_ID}: $*"; }

stopped() {
    heard=yes asked=yes
    test -z "$run" || kill -USR1 "$run"
}

trap stopped USR1 TERM
while :; do
    "${command[@]}" --shard "$part/$of" < /dev/null &
    run=$!
    test -z "$asked" || kill -USR1 "$run"
    heard=yes
    # A signal ends `wait` before the run ends.
    while test -n "$heard"; do
        heard=''
        wait "$run"
        code=$?
    done
    run=''
    if test "$code" -eq 75 || { test -n "$asked" && test "$code" -gt 128; }; then
        say "stopped: begun again in a minute, here or where HyperQueue goes on when this worker is lost"
        asked=''
        sleep 60 &
        wait $!
        continue
    fi
    # 130 is a person's Ctrl-C; other codes above 128 are deaths, by memory's end for instance.
    if test "$code" -le 128 || test "$code" -eq 130 || test "$deaths" -ge "$retries"; then
        exit "$code"
    fi
    deaths=$((deaths + 1))
    say "killed (exit code $code): begun again, $deaths of at most $retries times"
done
