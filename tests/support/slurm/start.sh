#!/usr/bin/env bash
# Start a Slurm of two nodes on this machine, as root, without systemd: start.sh ROOT; then SLURM_CONF=ROOT/slurm.conf.
# needs: apt-get install --no-install-recommends slurm-wlm munge
# SLURM_TEST_PORT: first of four ports; SLURM_TEST_SETTINGS: further lines of slurm.conf; SLURM_TEST_ISOLATED=1: each
# node has its own name space of processes, and killing the first process of it (ROOT/run/node.NAME) kills the node.
set -euo pipefail
root=${1:?usage: start.sh ROOT}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$root"/{etc,run,log,state,spool}
chmod 755 "$root" "$root"/*
(umask 077; head -c 128 /dev/urandom > "$root/etc/munge.key")
chmod 700 "$root/etc"
munged --socket="$root/run/munge.socket" --key-file="$root/etc/munge.key" --pid-file="$root/run/munged.pid" \
       --log-file="$root/log/munged.log" --seed-file="$root/state/munge.seed"
port=${SLURM_TEST_PORT:-26817}
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.45)}' /proc/meminfo)
sed -e "s|@ROOT@|$root|g" -e "s|@HOST@|$(hostname -s)|g" -e "s|@PORT@|$port|g" -e "s|@PORT1@|$((port + 1))|g" \
    -e "s|@PORT2@|$((port + 2))|g" -e "s|@MEMORY@|$memory|g" "$here/slurm.conf.in" > "$root/slurm.conf"
for key in $(sed -n 's/^\(\w*\)=.*/\1/p' <<< "${SLURM_TEST_SETTINGS:-}"); do sed -i "/^$key=/d" "$root/slurm.conf"; done
echo "${SLURM_TEST_SETTINGS:-}" >> "$root/slurm.conf"
export SLURM_CONF="$root/slurm.conf"
slurmctld -c -L "$root/log/slurmctld.log"
for node in n1 n2; do bash "$here/node.sh" "$root" "$node"; done
for _ in $(seq 100); do
  [ "$(sinfo -h -N -p main -t idle -o %N 2>/dev/null | wc -l)" = 2 ] && exit 0
  sleep 0.2
done
echo "Slurm did not come up; see $root/log" >&2
sinfo -N -l >&2 || true
exit 1
