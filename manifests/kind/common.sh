# Sourced by up.sh, test.sh and down.sh: what they share.
# shellcheck shell=bash

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
repository="$(cd "$here/../.." && pwd)"
export here repository

# The versions are those that this was run with, on kind 0.33: docs/cluster.md.
export CLUSTER="${CLUSTER:-accrete}"
export IMAGE="${IMAGE:-accrete-trainer:0.1.0-cpu}"
export NODE_IMAGE="${NODE_IMAGE:-kindest/node:v1.34.4}"
export KFP_VERSION="${KFP_VERSION:-2.17.0}"
export TRAINER_VERSION="${TRAINER_VERSION:-v2.3.0}"
export FAKE_GPUS="${FAKE_GPUS:-4}"

dry_run=false
with_trainer=false
for argument in "$@"; do
  case "$argument" in
    --dry-run) dry_run=true ;;
    --trainer)
      with_trainer=true
      # Of up.sh alone.
      [ "$(basename "$0")" = up.sh ] || argument=unknown
      ;;
    *) argument=unknown ;;
  esac
  if [ "$argument" = unknown ]; then
    echo "usage: $(basename "$0") [--dry-run]$([ "$(basename "$0")" != up.sh ] || echo " [--trainer]")" >&2
    exit 2
  fi
done
export with_trainer

# Do a command, or say in a dry run that it would be done.
run() {
  if $dry_run; then
    printf '+'
    printf ' %q' "$@"
    printf '\n'
  else
    "$@"
  fi
}

# kubectl on our cluster, whatever the current context is.
on_cluster() {
  run kubectl --context "kind-$CLUSTER" "$@"
}

# End with one line unless a program is there. A dry run needs none.
need() {
  local program="$1" hint="$2"
  if ! $dry_run && ! command -v "$program" >/dev/null; then
    echo "$program is missing: $hint" >&2
    exit 1
  fi
}

need_all() {
  need docker "install Docker, https://docs.docker.com/engine/install"
  need kind "install it, https://kind.sigs.k8s.io/docs/user/quick-start"
  need kubectl "install it, https://kubernetes.io/docs/tasks/tools, or activate .venv"
  if ! $dry_run && ! docker info >/dev/null 2>&1; then
    echo "the Docker engine does not answer: start it, or give this user access to it" >&2
    exit 1
  fi
}

cluster_exists() {
  ! $dry_run && kind get clusters 2>/dev/null | grep -qx "$CLUSTER"
}
