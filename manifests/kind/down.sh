#!/usr/bin/env bash
# Removes the cluster of up.sh and all that is in it. May be run again.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_all
if $dry_run || cluster_exists; then
  run kind delete cluster --name "$CLUSTER"
else
  echo "there is no cluster $CLUSTER"
fi
