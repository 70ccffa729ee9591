"""One stage, from its parent's checkpoint to its own manifest.

`run` is the whole of it, a list of what happens in order; `inputs` is what it starts from,
`snapshots` what it continues from after a kill, `observer` whom it tells how far it is.
"""
