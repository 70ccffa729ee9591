"""From a source of images to class shards, and back to pixels.

`prepare` makes a data set of a source (`sources.opening` opens them), unless it was made already,
`extension` one that grows, and its plan; `splits` says which images train, validate and test,
`images` decodes, `shards` reads rows from a shard at their offsets. `counts` is how many images of
each class there are, for planning.
"""
