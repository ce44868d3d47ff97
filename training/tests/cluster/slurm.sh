#!/bin/sh
# A cluster of this one machine, for as long as a command runs: slurm.sh COMMAND...
# Needs Debian's slurm-wlm and root, by sudo at least: Slurm's daemons change users. All of it lies in a folder of its own.
set -eu
test "$(id -u)" = 0 || exec sudo -E "$0" "$@"
home=$(mktemp -d /tmp/slurm.XXXXXX)
host=$(hostname -s)
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }
stop() {
	for name in slurmd slurmctld munged; do
		test ! -f "$home/$name.pid" || kill "$(cat "$home/$name.pid")" 2> /dev/null || true
	done
	rm -rf "$home"
}
trap stop EXIT

mkdir -p "$home/munge" "$home/spool" "$home/state"
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
SlurmdPort=$(port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$home/munge/socket
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
ReturnToService=2
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd.log
NodeName=$host CPUs=2 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
END
export SLURM_CONF="$home/slurm.conf"
slurmctld
slurmd -N "$host"
tries=0
until test "$(sinfo -h -o %T 2> /dev/null)" = idle; do
	tries=$((tries + 1))
	if test $tries -gt 100; then
		echo "Slurm did not come up:" >&2
		tail -n 20 "$home"/*.log >&2
		exit 1
	fi
	sleep 0.2
done
"$@"
