"""Knows nothing of images, stages or stores: hashing, JSON, checks, options, the environment.

`hashing` is the identity of everything that is stored, `serialization` makes dataclasses from JSON,
`validation` and `untrusted` refuse what is wrong or hostile, `credentials` are read from files.
`environment` names the variables that `settings` reads, `options` is how a field becomes a user's
option. `units` is numbers as people write and read them, `processes` and `disk` are the machine's.
"""
