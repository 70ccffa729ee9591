"""Pipeline files: `kfp run FILE.py` runs each of them."""
