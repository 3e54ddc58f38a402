#!/usr/bin/env bash
# The release gate in CI, of GitHub's action and of GitLab's template alike. The variables are the
# action's inputs: PIPELINE, and where wanted SINCE, MOST_FLIPS, MOST_MOVE, OUT and REPORTS.
#
# Everything is tried and reported, whatever fails; the script then exits with 1.
set -euo pipefail
: "${PIPELINE:?want the pipeline to seal, FILE.py:NAME}"
OUT=${OUT:-bundles} REPORTS=${REPORTS:-reports} SINCE=${SINCE:-}
mkdir -p "$REPORTS"
rm -f "$REPORTS/comment.md"
status=0

# The bundle's path stands alone on standard output; what the gate says is on standard error.
seatrial export "$PIPELINE" --out "$OUT" --json > "$REPORTS/sealed.json"
bundle=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["path"])' "$REPORTS/sealed.json")
if [ -n "${GITHUB_OUTPUT:-}" ]; then echo "bundle=$bundle" >> "$GITHUB_OUTPUT"; fi

seatrial parity "$bundle" --pipeline "$PIPELINE" --junit "$REPORTS/parity.xml" || status=1
seatrial report "$bundle" --out "$REPORTS/report.html" --markdown "$REPORTS/report.md"
cp "$REPORTS/report.md" "$REPORTS/comment.md"

if [ -n "$SINCE" ]; then
  limits=()
  if [ -n "${MOST_FLIPS:-}" ]; then limits+=(--most-flips "$MOST_FLIPS"); fi
  if [ -n "${MOST_MOVE:-}" ]; then limits+=(--most-move "$MOST_MOVE"); fi
  seatrial diff "$SINCE" "$bundle" --notes "$REPORTS/notes.md" "${limits[@]}" 2> "$REPORTS/limits.txt" || status=1
  cat "$REPORTS/limits.txt" >&2
  {
    echo
    sed 's/^#/##/' "$REPORTS/notes.md"
    if [ -s "$REPORTS/limits.txt" ]; then printf '\n```text\n%s\n```\n' "$(cat "$REPORTS/limits.txt")"; fi
  } >> "$REPORTS/comment.md"
fi
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then cat "$REPORTS/comment.md" >> "$GITHUB_STEP_SUMMARY"; fi
exit "$status"
