"""What a run is, and where it runs. Pure: no file, no network, no library but the standard one.

`run` is the whole configuration, made of a `plan` (which classes each stage adds, with what
budget), a `recipe` (every value that training needs) and an `image_format`; `sweep` is several runs
in one pipeline. `cost` says what plans cost. `placement`, with `allocation` and `kubernetes`, says
where the pipeline's steps run, and `pod` what their pods ask for; neither changes a result.
"""
