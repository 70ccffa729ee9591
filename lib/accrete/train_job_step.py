"""What pipelines compiled before there were packages import; see steps/train_on_nodes.py."""

from accrete.steps.train_on_nodes import train_job_step

__all__ = ["train_job_step"]
