"""Where a compiled pipeline runs: on this machine, or on a Kubeflow backend.

`pipeline_file` is a file with a pipeline's definition, `local` runs it here (`local_process` and
`step_forks` are the processes), package `kubeflow` submits it and follows it.
"""
