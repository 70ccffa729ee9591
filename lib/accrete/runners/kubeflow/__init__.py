"""Runs on Kubeflow Pipelines: submitted once, followed to their end, with why they wait.

`client` is the API of version 2, `submission` brings a run there once, `following` shows it to its
end, `resubmission` submits it again where the cluster lost it, `standing` tells how it stands now.
`access` is what a user gives to get in. What answers in Kubeflow's place is named by `_answers` and
`_failures`; why a step waits by `waiting`, why a run ended by `_ending`.
"""
