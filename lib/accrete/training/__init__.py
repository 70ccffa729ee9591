"""Tensors only: trains a network on batches of images. Never sees a store, a file or a manifest.

`loop` trains a stage, `step` is one optimizer step (a step in here is never anything else),
`batches` makes batches from an `image_source` in a fixed order, `augmentation` is what happens to
them on the device, `distributed` the processes that train together, `early_stopping` when a stage
may end, `evaluation` what a model is worth.
"""
