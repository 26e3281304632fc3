#!/usr/bin/env bash
# Stop what start.sh started, each daemon by its own pid file: stop.sh ROOT
root=${1:?usage: stop.sh ROOT}
for file in "$root"/run/node.*.pid; do
  [ -f "$file" ] && kill -9 "$(cat "$file")" 2>/dev/null
done
for file in "$root"/run/slurmd.*.pid "$root"/run/slurmctld.pid "$root"/run/munged.pid; do
  [ -f "$file" ] || continue
  pid=$(cat "$file")
  [ "$pid" != 1 ] || continue  # written inside a name space of processes
  kill "$pid" 2>/dev/null || continue
  for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
done
exit 0
