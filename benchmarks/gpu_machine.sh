#!/usr/bin/env bash
# On a machine with a GPU, PyTorch and no network: takes what gpu_kit.py packed, runs benchmarks.
#
#   gpu_machine.sh take FOLDER...   install the wheels and keep the data of the kit's folders
#   gpu_machine.sh run COMMAND...   run a command with both, and this checkout's library
set -euo pipefail
kept="${GPU_KIT_KEPT:-/tmp/accrete-gpu-kit}"
root="$(cd "$(dirname "$0")/.." && pwd)"
python="${PYTHON:-python3}"
what="${1:-nothing}"
shift || true
case "$what" in
  take)
    mkdir -p "$kept/data"
    for folder in "$@"; do
      if compgen -G "$folder/*.whl" >/dev/null; then
        "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
          --upgrade --target "$kept/site" "$folder"/*.whl
      fi
      for file in "$folder"/*.parquet; do
        [ ! -e "$file" ] || cp "$file" "$kept/data/"
      done
      [ ! -e "$folder/commit" ] || cp "$folder/commit" "$kept/commit"
    done
    ;;
  run)
    export PYTHONPATH="$root/lib:$kept/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
    export ACCRETE_HOME="${ACCRETE_HOME:-$kept/home}"
    PATH="$kept/site/bin:$PATH"
    if compgen -G "$kept/data/*.parquet" >/dev/null; then
      export ACCRETE_TEST_CIFAR100="$kept/data"
    fi
    if [ -e "$kept/commit" ]; then
      BENCHMARK_COMMIT="$(cat "$kept/commit")"
      export BENCHMARK_COMMIT
    fi
    exec "$@"
    ;;
  *)
    echo "gpu_machine.sh: say take or run, not $what" >&2
    exit 2
    ;;
esac
