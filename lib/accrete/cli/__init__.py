"""The `accrete` and `kfp` commands: what users type, turned into values, and answers into lines.

`main` is the command, `run`, `sweep` and `extend` are the commands of pipeline files, which
`pipelines/` makes its own from.
"""
