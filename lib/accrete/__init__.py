"""Train an image classifier in stages that add classes, as a Kubeflow pipeline."""

__version__ = "0.1.0"
