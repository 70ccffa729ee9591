"""Image folders: which folder of a path is the class, which the split."""
