#!/usr/bin/env bash
# Makes a kind cluster with Kubeflow Pipelines, our manifests and GPUs that are not there; with
# --trainer also Kubeflow Trainer and JobSet, for stages on several nodes. May be run again: what
# exists is left, or brought up to date.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

steps=5
if $with_trainer; then steps=6; fi
number=0
# Say which step begins and after how long. On standard error in a dry run, whose output is commands.
step() {
  number=$((number + 1))
  say "== $number/$steps $1$($dry_run || clock ' [%d:%02d so far]')"
}
say() {
  if $dry_run; then echo "$1" >&2; else echo "$1"; fi
}
clock() {
  # shellcheck disable=SC2059
  printf "$1" $((SECONDS / 60)) $((SECONDS % 60))
}

# Wait for a Job's end, and say what it said where it did not come or was no good.
job_done() {
  local namespace="$1" job="$2" limit="$3"
  if ! on_cluster -n "$namespace" wait --for=condition=complete --timeout="$limit" "job/$job"; then
    echo "job $job in $namespace is not complete after $limit; what it says:" >&2
    on_cluster -n "$namespace" get pods -l "job-name=$job" >&2 || true
    on_cluster -n "$namespace" logs "job/$job" --all-containers --tail=20 >&2 || true
    return 1
  fi
}

case "$IMAGE" in
  *[!A-Za-z0-9._/:-]* | *: | :*)
    echo "IMAGE must be a name with a tag, as \`docker image ls\` has it: $IMAGE" >&2
    exit 2
    ;;
esac
# A colon before the last slash is a registry's port.
case "${IMAGE##*/}" in
  *:*) ;;
  *)
    echo "IMAGE has no tag, and a node would ask a registry for the newest: $IMAGE" >&2
    exit 2
    ;;
esac
need_all
if ! $dry_run && ! docker image inspect "$IMAGE" >/dev/null 2>&1; then
  echo "there is no image $IMAGE: build it with \`make images-cpu\`, or name another by IMAGE" >&2
  exit 1
fi
say "$steps steps. On 2 cores all of them took 13.5 minutes, 8 of these the image, which had 6.5 GB and went"
say "to two nodes: it goes to one now. 5.5 were all the rest."

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

step "the cluster $CLUSTER: two nodes of $NODE_IMAGE"
if cluster_exists; then
  echo "cluster $CLUSTER exists"
else
  run kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" --config "$here/cluster.yaml" --wait 5m
fi

# The control plane runs no step, nor any other pod of this image: it is tainted.
step "the image $IMAGE to the worker, which is told that it has $FAKE_GPUS GPUs"
worker="$CLUSTER-worker"
run kind load docker-image "$IMAGE" --name "$CLUSTER" --nodes "$worker"

# A node's status is taken at its word: the scheduler then gives these to pods that ask for GPUs.
on_cluster label node "$worker" --overwrite nvidia.com/gpu.present=true nvidia.com/gpu.product=none
on_cluster patch node "$worker" --subresource=status --type=json --patch \
  "[{\"op\": \"add\", \"path\": \"/status/capacity/nvidia.com~1gpu\", \"value\": \"$FAKE_GPUS\"}]"
on_cluster wait "node/$worker" --timeout=2m \
  --for="jsonpath={.status.allocatable.nvidia\\.com/gpu}=$FAKE_GPUS"

step "Kubeflow Pipelines $KFP_VERSION: its objects"
kubeflow="github.com/kubeflow/pipelines/manifests/kustomize"
on_cluster apply -k "$kubeflow/cluster-scoped-resources?ref=$KFP_VERSION"
on_cluster wait crd/workflows.argoproj.io --for=condition=established --timeout=2m
on_cluster apply -k "$kubeflow/env/platform-agnostic?ref=$KFP_VERSION"

if $with_trainer; then
  # Trainer's own kustomization brings the JobSet it was made with, 0.12.0 for v2.3.0.
  step "Kubeflow Trainer $TRAINER_VERSION and JobSet"
  on_cluster apply --server-side -k \
    "https://github.com/kubeflow/trainer.git/manifests/overlays/manager?ref=$TRAINER_VERSION"
  on_cluster wait crd/trainjobs.trainer.kubeflow.org --for=condition=established --timeout=2m
  on_cluster -n kubeflow-system wait --for=condition=available --timeout=10m --all deployment
fi

step "accrete: the store, its keys, the cache, the checks"
# The namespace first: the Secret must be there when the store starts. Its keys are made once, and
# are in no file and on no command line that outlives this script.
on_cluster apply -f "$repository/manifests/base/namespace.yaml"
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
(umask 077 && random 10 >"$scratch/access-key" && random 20 >"$scratch/secret-key")
if ! $dry_run && kubectl --context "kind-$CLUSTER" -n accrete get secret accrete-store >/dev/null 2>&1; then
  for key in access-key secret-key; do
    kubectl --context "kind-$CLUSTER" -n accrete get secret accrete-store \
      -o "go-template={{index .data \"$key\" | base64decode}}" >"$scratch/$key"
  done
else
  on_cluster -n accrete create secret generic accrete-store \
    --from-file="$scratch/access-key" --from-file="$scratch/secret-key"
fi
# The steps' copy follows: an older one may have the keys of a store that is gone.
on_cluster -n kubeflow delete secret accrete-store --ignore-not-found
on_cluster -n kubeflow create secret generic accrete-store \
  --from-file="$scratch/access-key" --from-file="$scratch/secret-key"

overlay="$repository/manifests/overlays/kind"
if $with_trainer; then overlay="$overlay-multi-node"; fi
# The overlays name the default image: this is where $IMAGE comes in.
mkdir "$scratch/overlay"
cat >"$scratch/overlay/kustomization.yaml" <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [rendered.yaml]
images: [{name: accrete-trainer, newName: "${IMAGE%:*}", newTag: "${IMAGE##*:}"}]
END
if $dry_run; then
  run kubectl kustomize "$overlay"
else
  kubectl kustomize "$overlay" >"$scratch/overlay/rendered.yaml"
fi
# A Job's template cannot be changed: one of an earlier call, with another image, goes first.
on_cluster -n accrete delete job accrete-cache accrete-doctor --ignore-not-found
on_cluster -n kubeflow delete job accrete-cache --ignore-not-found
on_cluster apply -k "$scratch/overlay"
on_cluster -n accrete rollout status statefulset/accrete-store --timeout=10m
job_done accrete accrete-cache 15m
job_done accrete accrete-doctor 15m
job_done kubeflow accrete-cache 15m

step "Kubeflow Pipelines: until all of it is available"
on_cluster -n kubeflow wait --for=condition=available --timeout=20m --all deployment
say "cluster $CLUSTER is ready$($dry_run || clock ' after %d:%02d'): make kind-test"
