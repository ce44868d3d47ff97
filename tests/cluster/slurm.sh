#!/bin/sh
# A cluster of this one machine, for as long as a command runs: slurm.sh COMMAND...
# It has two nodes, one of the machine's name and `two`, of two CPUs each whatever the machine has, and two partitions, `low` (the usual one) and `high`, whose jobs take
# the place of those in `low` by EGOFX_TEST_PREEMPT, REQUEUE (the default) or CANCEL.
# Needs Debian's slurm-wlm and root, by sudo at least: Slurm's daemons change users. All of it lies in a folder of its own.
set -eu
test "$(id -u)" = 0 || exec sudo -E "$0" "$@"
home=$(mktemp -d /tmp/slurm.XXXXXX)
host=$(hostname -s)
daemons="slurmd.$host slurmd.two slurmctld munged"
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }
# What has ended and was not waited for, as where no init runs, does not live.
lives() { test -f "$home/$1.pid" && grep -q '^State:[[:space:]]*[^ZX]' "/proc/$(cat "$home/$1.pid")/status" 2> /dev/null; }
# The command's own end is this one's, whatever becomes of the daemons and of what they write while the folder goes.
stop() {
	code=$?
	trap - EXIT
	for name in $daemons; do
		! lives "$name" || kill "$(cat "$home/$name.pid")" || true
	done
	for name in $daemons; do
		tries=0
		while lives "$name" && test $tries -lt 50; do
			tries=$((tries + 1))
			sleep 0.1
		done
		! lives "$name" || kill -KILL "$(cat "$home/$name.pid")" || true
	done 2> /dev/null
	rm -rf "$home" 2> /dev/null || { sleep 1; rm -rf "$home" || true; }
	exit $code
}
trap stop EXIT

mkdir -p "$home/munge" "$home/spool.$host" "$home/spool.two" "$home/state"
chmod 755 "$home"
head -c 1024 /dev/urandom > "$home/munge/key"
chmod 400 "$home/munge/key"
chmod 755 "$home/munge"
# Munge minds who may write to the folders above its files, which is not what is tested.
munged --force --key-file="$home/munge/key" --socket="$home/munge/socket" --pid-file="$home/munged.pid" \
	--log-file="$home/munged.log" --seed-file="$home/munge/seed"

cat > "$home/slurm.conf" << END
ClusterName=egofx
SlurmctldHost=$host
SlurmctldPort=$(port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# What is requeued waits until its credential has expired, two minutes unless told otherwise, five seconds at least.
AuthInfo=socket=$home/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=${EGOFX_TEST_PREEMPT:-REQUEUE}
JobRequeue=1
SlurmdParameters=config_overrides
KillWait=${EGOFX_TEST_KILL_WAIT:-20}
MaxArraySize=${EGOFX_TEST_ARRAY:-1001}
ReturnToService=2
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool.%n
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.%n.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd.%n.log
NodeName=$host NodeHostname=$host NodeAddr=127.0.0.1 Port=$(port) CPUs=2 State=UNKNOWN
NodeName=two NodeHostname=$host NodeAddr=127.0.0.1 Port=$(port) CPUs=2 State=UNKNOWN Weight=2
PartitionName=low Nodes=$host,two Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=high Nodes=$host,two MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
END
export SLURM_CONF="$home/slurm.conf"
slurmctld
slurmd -N "$host"
slurmd -N two
tries=0
until test "$(sinfo -h -p low -o '%D %T' 2> /dev/null)" = '2 idle'; do
	tries=$((tries + 1))
	if test $tries -gt 100; then
		echo "Slurm did not come up:" >&2
		tail -n 20 "$home"/*.log >&2
		exit 1
	fi
	sleep 0.2
done
"$@"
