"""Bytes in an S3 store, and on this node's disk. Knows keys, and nothing of what they hold.

`object_store` is the one way in: content-addressed data, create-only manifests, mutable notes.
`keys` is the one place where keys are built, `settings` says which store, `cache` keeps objects on
the node's disk, checked at each use, and `traffic` counts. `local` gives a machine without a store
the `embedded` one, whose server `embedded_keeper` runs and stops.
"""
