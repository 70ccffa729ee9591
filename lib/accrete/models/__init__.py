"""Networks that grow, their files, and what users do with them.

`networks` makes them and grows their heads, `checkpoint` is their file, `pretrained` takes weights
from elsewhere, `predictor` classifies images, `export` writes them for other programs.
"""
