#!/usr/bin/env bash
# Start one node of the cluster in ROOT: node.sh ROOT NODE.
set -euo pipefail
root=${1:?usage: node.sh ROOT NODE}; node=${2:?usage: node.sh ROOT NODE}
export SLURM_CONF="$root/slurm.conf"
if [ "${SLURM_TEST_ISOLATED:-0}" = 1 ]; then
  # The first process of a name space takes all others with it; its id outside is that of unshare's child.
  unshare --pid --fork --mount-proc --kill-child slurmd -D -N "$node" -L "$root/log/slurmd.$node.log" \
    < /dev/null > /dev/null 2>&1 &
  echo $! > "$root/run/node.$node.pid"
else
  slurmd -N "$node" -L "$root/log/slurmd.$node.log"
fi
