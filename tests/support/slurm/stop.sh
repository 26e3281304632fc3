#!/usr/bin/env bash
# Stop what start.sh started, each daemon by its own pid file: stop.sh ROOT
root=${1:?usage: stop.sh ROOT}
for file in "$root"/run/slurmd.*.pid "$root"/run/slurmctld.pid "$root"/run/munged.pid; do
  [ -f "$file" ] || continue
  pid=$(cat "$file")
  kill "$pid" 2>/dev/null || continue
  for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
done
exit 0
