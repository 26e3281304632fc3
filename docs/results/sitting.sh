#!/usr/bin/env bash
# One sitting of a study: goes on where the archive's sittings ended, and leaves all records in the archive again.
#
#   docs/results/sitting.sh ARCHIVE.tar.gz MINUTES study=NAME [OVERRIDES ...]
#   docs/results/sitting.sh readme.tar.gz 9 study=readme data.root=/where/cifar10/is
#
# For machines that are lent for minutes and come back empty: cells that the archive holds are not trained again. It
# keeps plan, records, curves, predictions and the report, no checkpoints; so a cell that a sitting's end interrupts is
# trained anew unless the next sitting is on the same machine. The report is written after the minutes are over; its
# gallery is drawn in the first sitting, which alone has those cells' weights, and kept in all others.
# Needs GNU tar and timeout. PYTHON names the interpreter, SWEEP_DIR the directory (outputs/NAME), GALLERY what
# becomes of the gallery: make, keep or none.
# Exit code: that of the study (0: all cells are done), 124 when the minutes were over first (137 if it had to be
# killed). MINUTES 0: no end.
set -euo pipefail
if [ $# -lt 3 ] || [[ ! $2 =~ ^[0-9]+$ ]] || [[ $3 != study=* ]]; then
  echo "usage: $0 ARCHIVE.tar.gz MINUTES study=NAME [OVERRIDES ...]" >&2
  exit 2
fi
archive=$(realpath -m "$1") minutes=$2
shift 2
checkout=$(realpath "$(dirname "$0")/../..")
sweep=$(realpath -m "${SWEEP_DIR:-$checkout/outputs/${1#study=}}")
mkdir -p "$sweep" "$(dirname "$archive")"
if [ -f "$archive" ]; then
  tar -xzf "$archive" -C "$sweep" --keep-newer-files  # another machine may have gone on since this one's last sitting
fi

# SIGTERM makes the study save and stop; what has not stopped a minute later is killed, its records stay.
code=0
timeout --signal=TERM --kill-after=60 "${minutes}m" \
  "${PYTHON:-python}" "$checkout/run.py" -m "$@" hydra.sweep.dir="$sweep" "~hydra.callbacks.report" || code=$?

[ -f "$sweep/plan.json" ] || exit "$code"  # refused before anything was planned

gallery=make
if grep -qs '"caption"' "$sweep/report/gallery.json"; then gallery=keep; fi  # it has pictures
(cd "$checkout" && "${PYTHON:-python}" -m analysis report "$sweep" --gallery "${GALLERY:-$gallery}") ||
  echo "no report; the records are kept all the same" >&2

list=$(mktemp)
trap 'rm -f "$list" "$archive.new"' EXIT
(cd "$sweep" && find . -type f \( -name plan.json -o -name record.json -o -name metrics.jsonl \
  -o -name predictions.npz -o -path './report/*' \)) > "$list"
tar -czf "$archive.new" -C "$sweep" -T "$list"
mv "$archive.new" "$archive"
echo "$archive: $(grep -c '/record.json$' "$list") records, $(du -h "$archive" | cut -f1)"
exit "$code"
