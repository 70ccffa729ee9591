#!/usr/bin/env bash
# Runs the tests that need the cluster of up.sh.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_all
if ! $dry_run && ! cluster_exists; then
  echo "there is no cluster $CLUSTER: make kind-up" >&2
  exit 1
fi
cd "$repository"
run "${PYTHON:-python3}" -m pytest tests/kind -m kind -v
