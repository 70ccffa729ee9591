"""Where images come from: a module for each kind, opened by `opening.open_source` alone.

A new kind is a module with a class that has `base.Source`'s methods, and a line in `opening`.
"""
