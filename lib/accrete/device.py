"""The device that a stage trains on."""

import platform

import torch

from accrete import __version__


def compute_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or `cpu` with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def versions() -> str:
    """Return the versions that a result was made with."""
    return f"accrete {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
