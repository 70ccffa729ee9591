"""How far a run is, and how well it does, for people, programs and Prometheus.

`journal` is what a step says of itself, `status` reads that of all steps, `console` draws it.
`instruments` names what is exported to Prometheus, `metrics` keeps the figures of a step,
`stage_metrics` those of a stage, `exporters` serves and pushes them.
"""
