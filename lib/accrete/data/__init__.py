"""From a source of images to class shards, and back to pixels.

`prepare` makes a data set from a source (`sources.opening` opens them), `extension` one that grows,
`splits` says which images train, validate and test, `images` decodes, `shards` reads rows from a
shard at their offsets. `counts` is how many images of each class there are, for planning.
"""
