#!/usr/bin/env bash
# Makes the base image local/python:3.11 from Debian's packages, for a machine that reaches no
# registry: `BASE_IMAGE=local/python:3.11 make images`. Needs root, debootstrap and a Docker engine.
set -euo pipefail

image="${1:-local/python:3.11}"
for command in debootstrap docker; do
  command -v "$command" >/dev/null ||
    { echo "images/base.sh: $command is missing: apt-get install debootstrap docker.io" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "images/base.sh: debootstrap needs root" >&2; exit 2; }
if docker image inspect "$image" >/dev/null 2>&1; then
  echo "$image exists"
  exit 0
fi
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder" \
  >"$folder.log" 2>&1 || { tail -n 5 "$folder.log" >&2; exit 1; }
rm -f "$folder.log" "$folder"/var/cache/apt/archives/*.deb
# The certificates of this machine: its network may sign its own.
cp /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
tar -C "$folder" -c . | docker import - "$image" >/dev/null
echo "$image made"
