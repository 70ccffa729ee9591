"""Networks that grow, their files, and what users do with them.

`networks` makes them and grows their heads, `checkpoint` is their file, `pretrained` takes weights
from elsewhere, `predictor` classifies the images of `image_files`, `export` writes them for other
programs once `export_preconditions` hold; `_onnx` checks its file against PyTorch.
"""
