"""Tensors only: trains a network on batches of images. Never sees a store or a manifest.

`loop` trains a stage (rates are from `config/schedule`), `step` is one optimizer step,
`recorded_step` many as a CUDA graph, `optimizer` SGD. `batches` makes batches from an
`image_source` in the `order` of a seed, `augmentation` changes them on the `device` by numbers of a
`counter_rng`. `precision` and `compilation` are decided once a stage, `distributed` is the
processes that train together, `early_stopping` when a stage may end, `evaluation` what a model is
worth.
"""
