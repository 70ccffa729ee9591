"""What must hold of a store whatever happened to it, checked by other means than the product's.

Reads every object with a client of its own and hashes it; knows the keys and fields of manifests,
but none of the code that writes or reads them.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minio import Minio


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_all(client: Minio, bucket: str, prefix: str) -> dict[str, bytes]:
    """Return the bytes of all objects below a prefix, by key."""
    found = {}
    for item in client.list_objects(bucket, prefix=prefix, recursive=True):
        response = client.get_object(bucket, item.object_name)
        try:
            found[item.object_name[len(prefix) :]] = response.read()
        finally:
            response.close()
            response.release_conn()
    return found


@dataclass(slots=True)
class Audit:
    """The objects of a prefix, and what is wrong with them."""

    objects: dict[str, bytes]
    """By key."""
    wrong: list[str] = field(default_factory=list)
    """One line for each."""

    def __post_init__(self) -> None:
        for key, data in self.objects.items():
            kind, *names = key.split("/")
            check = getattr(self, f"_check_{kind}", None)
            if check is None:
                self.wrong.append(f"{key} is nothing that is known")
            else:
                check(key, names, data)

    def _json(self, key: str, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            self.wrong.append(f"{key} holds no document")
            return {}
        return value

    def _named(self, key: str, ref: dict[str, Any]) -> None:
        data = self.objects.get(f"objects/{ref['sha256'][:2]}/{ref['sha256']}")
        if data is None:
            self.wrong.append(f"{key} names {ref['sha256'][:12]}, which is not stored")
        elif len(data) != ref["num_bytes"]:
            self.wrong.append(f"{key} names {ref['sha256'][:12]} with another size")

    def _check_doctor(self, key: str, names: list[str], _data: bytes) -> None:
        if names != ["create-only"]:  # the proof that the store creates only what is not there
            self.wrong.append(f"{key} was left behind")

    def _check_objects(self, key: str, names: list[str], data: bytes) -> None:
        if names != [names[1][:2], hashlib.sha256(data).hexdigest()]:
            self.wrong.append(f"{key} holds other bytes than its name says")

    def _check_snapshots(self, key: str, names: list[str], data: bytes) -> None:
        _, size, sha256 = names[1].removesuffix(".safetensors").split("-")
        if len(data) != int(size) or hashlib.sha256(data).hexdigest() != sha256:
            self.wrong.append(f"{key} holds other bytes than its name says")

    def _check_datasets(self, key: str, names: list[str], data: bytes) -> None:
        manifest = self._json(key, data)
        if digest_of(manifest) != names[0]:
            self.wrong.append(f"{key} is not what its digest says")
        for entry in manifest.get("classes", []):
            for split in ("train", "validation", "test"):
                for ref in entry[split]:
                    self._named(key, ref)

    def _check_prepared(self, key: str, _names: list[str], data: bytes) -> None:
        dataset = self._json(key, data).get("dataset")
        if f"datasets/{dataset}/manifest.json" not in self.objects:
            self.wrong.append(f"{key} names a data set that is not stored")

    def _check_stages(self, key: str, names: list[str], data: bytes) -> None:
        sealed = self._json(key, data)
        manifest = sealed.get("manifest", {})
        if sealed.get("sha256") != digest_of(manifest) or manifest.get("digest") != names[0]:
            self.wrong.append(f"{key} is not what its seal says")
            return
        self._named(key, manifest["checkpoint"])
        self._named(key, manifest["metrics"])
        parent = manifest["parent"]
        if parent is not None and f"stages/{parent}/manifest.json" not in self.objects:
            self.wrong.append(f"{key} grows from a stage that is not stored")

    def _check_runs(self, key: str, names: list[str], data: bytes) -> None:
        if names[1] == "run.json":
            dataset = self._json(key, data).get("dataset")
            if f"datasets/{dataset}/manifest.json" not in self.objects:
                self.wrong.append(f"{key} names a data set that is not stored")


def wrong_in_cache(folder: Path) -> list[str]:
    """Return what is wrong with a node cache: files that are not what their names say."""
    return [
        f"{path.name[:12]} in the node cache holds other bytes than its name says"
        for path in sorted(folder.glob("objects/*/*"))
        if not path.name.startswith(".")
        and hashlib.sha256(path.read_bytes()).hexdigest() != path.name
    ]
