# What follows is the same for every command. $0 is Slurm's copy of this script, which goes with the job.
script=$(< "$0")
index=${SLURM_ARRAY_TASK_ID:?this script is for sbatch}
part=$((index + ${EGOFX_OFFSET:-0}))
task=${SLURM_ARRAY_JOB_ID}_$index
run='' asked='' heard='' gone_on='' deaths=0

say() { echo "$(date +%FT%T) part $part/$of, job $task: $*" >&2; }

# What Slurm says of this job: CG while it is ended, how often it was requeued, and when it was preempted (N/A: never). Not by
# `< <(squeue)`: that would set $!, which whom a signal has interrupted may not have read yet.
look() {
    state='' restarts=0 preempted=N/A
    read -r state restarts preempted <<< "$(squeue -h -j "$task" -O StateCompact:9,RestartCnt:12,PreemptTime:30)"
}

# This part as a job of its own, which begins when this one has ended.
submit_again() {
    (
        for name in "${!SLURM_@}"; do
            case $name in SLURM_CONF | SLURM_JWT) ;; *) unset "$name" ;; esac
        done
        sbatch --array="$index" --dependency="afterany:$task" <<< "$script"
    )
}

# Has this part gone on with: it is requeued, or submitted again where it was preempted for good or may not be requeued. What Slurm
# requeues itself and what a person has cancelled is left alone.
go_on() {
    test -z "$gone_on" || return 0
    gone_on=yes
    look
    case $state in
    '') say "stopped, and Slurm does not answer: egofx submit --missing goes on" ;;
    CG)
        if test "$restarts" -gt "${SLURM_RESTART_COUNT:-0}"; then
            say "stopped; Slurm requeues it"
        elif test "$preempted" != N/A; then
            say "preempted: submitted again"
            submit_again
        else
            say "cancelled"
        fi
        ;;
    *)
        say "stopped: requeued"
        scontrol requeue "$task" || submit_again
        ;;
    esac
}

tell_run() { test -z "$run" || kill -USR1 "$run"; }

# The end of the time comes near, and only this shell is told.
warned() {
    heard=yes asked=yes
    tell_run
}

# Slurm ends the job, and has told the run itself; or somebody has told this shell only.
terminated() {
    heard=yes asked=yes
    look
    if test "$state" = CG; then go_on; else tell_run; fi
}

trap warned USR1
trap terminated TERM
while :; do
    "${launch[@]}" "${command[@]}" --shard "$part/$of" &
    run=$!
    test -z "$asked" || tell_run
    heard=yes
    # A signal ends `wait` before the run ends.
    while test -n "$heard"; do
        heard=''
        wait "$run"
        code=$?
    done
    run=''
    if test "$code" -eq 75 || { test -n "$asked" && test "$code" -gt 128; }; then
        go_on
        exit 75
    fi
    # 130 is a person's Ctrl-C; other codes above 128 are deaths, by memory's end for instance.
    if test "$code" -le 128 || test "$code" -eq 130 || test "$deaths" -ge "$retries"; then
        exit "$code"
    fi
    deaths=$((deaths + 1))
    say "killed (exit code $code): begun again, $deaths of at most $retries times"
done
