"""Where images come from: a module for each kind, opened by `opening.open_source` alone.

A new kind is a module with a class that has `base.Source`'s methods, its name in `SOURCE_KINDS`
(`config/run.py`) and a line in `opening`.
"""
