"""What pipelines compiled before there were packages import; see steps/train.py."""

from accrete.steps.train import headline

__all__ = ["headline"]
