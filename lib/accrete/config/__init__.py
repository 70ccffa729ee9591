"""What a run is, and where it runs. Pure but for `cost`, which needs numpy and reads a file.

`run` is the whole configuration, made of a `plan` (which classes each stage adds), a `recipe`
(every value that training needs) and an `image_format`; `classes` orders them. `schedule` is what
both come to for each stage: its optimizer steps and their learning rates. `sweep` is several runs
in one pipeline, `cost` what plans cost, `packing` which stages share a step. `placement`, with
`allocation` and `kubernetes`, says where steps run, `pod` what their pods ask for; none of the
three changes a result.
"""
