"""Bytes in an S3 store, and on this node's disk. Knows what a key is, and nothing of what it
holds.

`object_store` is the one way in: content-addressed data, create-only manifests, mutable notes.
`keys` is the one place where keys are built, `settings` says which store, `cache` keeps objects on
the node's disk, checked at each use. `local` and `embedded` are the store of a machine without one.
"""
