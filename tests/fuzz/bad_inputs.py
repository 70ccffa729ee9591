"""All kinds of bad input, each with what makes it, what reads it, and the line that refuses it.

`docs/bad-input.md` lists them from here; its test holds the two together.
"""

import bad_folders
import bad_lists
import bad_samples
import bad_stored
import bad_tables
import bad_weights
from bad_kinds import KINDS, Kind

PARTS = (bad_folders, bad_lists, bad_samples, bad_stored, bad_tables, bad_weights)
"""Importing each has filled the table."""

__all__ = ["KINDS", "PARTS", "Kind"]
