#!/usr/bin/env bash
# Fuzz each reader, or the one that $TARGET names, for $FUZZ_SECONDS: tests/fuzz/run.sh PYTHON.
# New inputs that reach new branches go to build/fuzz; a finding stops it and lies there too.
set -euo pipefail
cd "$(dirname "$0")/../.."
python="$1"
seconds="${FUZZ_SECONDS:-600}"
export OMP_NUM_THREADS=1

for path in tests/fuzz/corpus/*/; do
  name="$(basename "$path")"
  [ -z "${TARGET:-}" ] || [ "$TARGET" = "$name" ] || continue
  mkdir -p "build/fuzz/$name"
  printf '\n=== %s, %s s\n' "$name" "$seconds"
  # Importing torch takes 600 MB; what an input may add is bounded by the rest.
  "$python" tests/fuzz/fuzz.py --target="$name" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 \
    -max_len=16384 -print_final_stats=1 -artifact_prefix="build/fuzz/$name-" \
    "build/fuzz/$name" "$path"
done
