"""Knows nothing of images, stages or stores: hashing, JSON to dataclasses, checks, files of
others.

`hashing` is the identity of everything that is stored, `serialization` makes dataclasses from JSON,
`validation` and `untrusted` refuse what is wrong or hostile, `settings` is what the environment
says, `units` is sizes, times and shares as people write them, `processes` and `disk` are the
machine's.
"""
