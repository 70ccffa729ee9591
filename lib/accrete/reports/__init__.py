"""What came of a run, a comparison or a study: as data, as figures and as a page.

`run_report` and `run_page` are a run's, `comparison` and `study` the figures of several runs,
`sweep_report` the report of either; `statistics` says what is equal at which accuracy, and how
sure.
"""
