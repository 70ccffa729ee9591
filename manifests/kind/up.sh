#!/usr/bin/env bash
# Makes a kind cluster with Kubeflow Pipelines, our manifests and GPUs that are not there. May be run
# again: what exists is left, or brought up to date.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need_all
if ! $dry_run && ! docker image inspect "$IMAGE" >/dev/null 2>&1; then
  echo "there is no image $IMAGE: build it with \`make images\`" >&2
  exit 1
fi

if cluster_exists; then
  echo "cluster $CLUSTER exists"
else
  run kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" --config "$here/cluster.yaml" --wait 5m
fi
run kind load docker-image "$IMAGE" --name "$CLUSTER"

# A node's status is taken at its word: the scheduler then gives these to pods that ask for GPUs.
worker="$CLUSTER-worker"
on_cluster label node "$worker" --overwrite nvidia.com/gpu.present=true nvidia.com/gpu.product=none
on_cluster patch node "$worker" --subresource=status --type=json --patch \
  "[{\"op\": \"add\", \"path\": \"/status/capacity/nvidia.com~1gpu\", \"value\": \"$FAKE_GPUS\"}]"
on_cluster wait "node/$worker" --timeout=2m \
  --for="jsonpath={.status.allocatable.nvidia\\.com/gpu}=$FAKE_GPUS"

kubeflow="github.com/kubeflow/pipelines/manifests/kustomize"
on_cluster apply -k "$kubeflow/cluster-scoped-resources?ref=$KFP_VERSION"
on_cluster wait crd/workflows.argoproj.io --for=condition=established --timeout=2m
on_cluster apply -k "$kubeflow/env/platform-agnostic?ref=$KFP_VERSION"

# The namespace first: the Secret must be there when the store starts. Its keys are made once, and
# are in no file and on no command line that outlives this script.
on_cluster apply -f "$repository/manifests/base/namespace.yaml"
keys="$(mktemp -d)"
trap 'rm -rf "$keys"' EXIT
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
(umask 077 && random 10 >"$keys/access-key" && random 20 >"$keys/secret-key")
if ! $dry_run && kubectl --context "kind-$CLUSTER" -n accrete get secret accrete-store >/dev/null 2>&1; then
  for key in access-key secret-key; do
    kubectl --context "kind-$CLUSTER" -n accrete get secret accrete-store \
      -o "go-template={{index .data \"$key\" | base64decode}}" >"$keys/$key"
  done
else
  on_cluster -n accrete create secret generic accrete-store \
    --from-file="$keys/access-key" --from-file="$keys/secret-key"
fi
if $dry_run || ! kubectl --context "kind-$CLUSTER" -n kubeflow get secret accrete-store >/dev/null 2>&1; then
  on_cluster -n kubeflow create secret generic accrete-store \
    --from-file="$keys/access-key" --from-file="$keys/secret-key"
fi

on_cluster apply -k "$repository/manifests/overlays/kind"
on_cluster -n accrete rollout status statefulset/accrete-store --timeout=10m
on_cluster -n accrete wait --for=condition=complete --timeout=15m \
  job/accrete-cache job/accrete-doctor
on_cluster -n kubeflow wait --for=condition=complete --timeout=15m job/accrete-cache
on_cluster -n kubeflow wait --for=condition=available --timeout=20m --all deployment
if ! $dry_run; then
  echo "cluster $CLUSTER is ready: make kind-test"
fi
