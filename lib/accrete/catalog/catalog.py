"""Manifests in the store: what exists is what has one, and is whole.

Knows what manifests name; the store below it knows keys and bytes only.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from accrete.catalog.manifests import (
    DatasetManifest,
    StageManifest,
    dump_dataset,
    dump_stage,
    load_dataset,
    load_stage,
)
from accrete.core.hashing import canonical_json
from accrete.core.untrusted import parse_json
from accrete.core.validation import is_sha256
from accrete.errors import IntegrityError, ObjectMissingError
from accrete.store import keys
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore


class Catalog:
    """The data sets and stages of one store."""

    def __init__(self, store: ObjectStore) -> None:
        """Use a store; reads nothing yet."""
        self.store = store

    def prepared_dataset(self, fingerprint: str) -> DatasetManifest | None:
        """Return the data set that a source became, if it and all its shards are stored."""
        note = self._read_json(keys.prepared_key(fingerprint))
        digest = _prepared_digest(note)
        if digest is None:
            return None
        try:
            manifest = self.dataset(digest)
        except ObjectMissingError:
            return None
        return manifest if self.missing_object(dataset_objects(manifest)) is None else None

    def prepared_datasets(self) -> dict[str, str | None]:
        """Return the data set of each source that was prepared, by the source's fingerprint.

        None stands for a note that was damaged: preparing the source again replaces it.
        """
        found: dict[str, str | None] = {}
        for key in self.store.list_keys(keys.prepared_prefix()):
            try:
                note = self._read_json(key)
            except IntegrityError:
                note = None
            fingerprint = key.removeprefix(keys.prepared_prefix()).removesuffix(".json")
            found[fingerprint] = _prepared_digest(note)
        return found

    def dataset(self, digest: str) -> DatasetManifest:
        """Return a dataset manifest.

        Raises:
            ObjectMissingError: there is none.
            IntegrityError: it was changed.
        """
        key = keys.dataset_key(digest)
        return load_dataset(self._required_json(key), digest, self.store.uri(key))

    def create_dataset(self, manifest: DatasetManifest, fingerprint: str) -> None:
        """Publish a data set whose shards are stored, then the note that leads to it."""
        self.store.create_note(keys.dataset_key(manifest.digest), dump_dataset(manifest))
        note = canonical_json({"dataset": manifest.digest})
        self.store.write_note(keys.prepared_key(fingerprint), note)

    def stage(self, digest: str) -> StageManifest | None:
        """Return a stage's manifest, None where the stage does not exist.

        Raises:
            IntegrityError: it was changed, or an object that it names is gone.
        """
        manifest = self.stage_manifest(digest)
        if manifest is None:
            return None
        key = keys.stage_key(digest)
        for ref in (manifest.checkpoint, manifest.metrics):
            if not self.store.has_object(ref):
                raise IntegrityError(
                    f"{self.store.uri(key)} names {self.store.uri(keys.object_key(ref.sha256))}, "
                    "which is gone or has another size: delete the manifest and run again"
                )
        return manifest

    def stage_manifest(self, digest: str) -> StageManifest | None:
        """Return a stage's manifest whether or not its objects are stored, None without one.

        Raises:
            IntegrityError: it was changed.
        """
        key = keys.stage_key(digest)
        data = self._read_json(key)
        return None if data is None else load_stage(data, digest, self.store.uri(key))

    def create_stage(self, manifest: StageManifest) -> StageManifest:
        """Publish a stage whose objects are stored; return it, or what another attempt published.

        Two attempts at a stage may differ in bytes on a GPU: the first manifest stands, and the
        loser of the race takes it over.
        """
        if self.store.create_note(keys.stage_key(manifest.digest), dump_stage(manifest)):
            return manifest
        winner = self.stage(manifest.digest)
        assert winner is not None
        return winner

    def missing_object(self, refs: Sequence[ObjectRef]) -> ObjectRef | None:
        """Return the first object that is not stored with the size that its manifest names."""
        with ThreadPoolExecutor(8) as pool:
            stored = pool.map(self.store.has_object, refs)
            return next(
                (ref for ref, is_stored in zip(refs, stored, strict=True) if not is_stored), None
            )

    def _required_json(self, key: str) -> Any:
        data = self._read_json(key)
        if data is None:
            raise ObjectMissingError(f"{self.store.uri(key)} does not exist")
        return data

    def _read_json(self, key: str) -> Any:
        data = self.store.read_note(key)
        return None if data is None else parse_json(data, self.store.uri(key))


def _prepared_digest(note: Any) -> str | None:
    """Return the data set that a note leads to, None where it was damaged."""
    digest = note.get("dataset") if isinstance(note, dict) else None
    return digest if isinstance(digest, str) and is_sha256(digest) else None


def dataset_objects(manifest: DatasetManifest) -> list[ObjectRef]:
    """Return all objects that a data set names."""
    return [shard for entry in manifest.classes for shard in entry.all_shards]
