"""What the bytes in a store mean: which runs, stages and data sets there are, whether whole.

`manifests` are what data sets and stages are, `identity` what decides a stage's result (and so
which stage can be reused), `records` what a run's name stands for. `catalog` reads and publishes
them, `lookup` finds what a user names, `lineage` and `verification` follow it down to the shards,
`gc` with `gc_mark` removes what no run names. `step_documents` is how far each step of a run is.
"""
