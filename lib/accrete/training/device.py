"""The device that a stage trains on."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from accrete import __version__

_FIRST_CAPABILITY_WITH_BF16 = (8, 0)


def compute_device(local_rank: int = 0) -> torch.device:
    """Return this process's GPU where there is one, else the CPU."""
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Have torch start no threads in a block: a process that is forked later has them not.

    It would wait for them for ever, with its first large tensor (libgomp's team is its own).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_arithmetic(*, deterministic: bool) -> None:
    """Have a GPU be quick, or repeat itself to the bit; a CPU does both.

    Float32 products use TF32 tensor cores, which round inputs to 10 bits of mantissa: bf16 has
    7. cuDNN tries its algorithms once for each shape, unless it must repeat.
    """
    torch.set_float32_matmul_precision("highest" if deterministic else "high")
    torch.backends.cudnn.allow_tf32 = not deterministic
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # it imports the compiler
        torch.use_deterministic_algorithms(deterministic)


@contextmanager
def autocast(device: torch.device, name: str) -> Iterator[None]:
    """Run a block in a precision: `bf16` by autocast, `fp32` as it is."""
    assert name in ("bf16", "fp32")
    with torch.autocast(device.type, torch.bfloat16, enabled=name == "bf16"):
        yield


def bf16_units(device: torch.device) -> str | None:
    """Return what a device multiplies bf16 numbers with; None: it has nothing for them."""
    if device.type == "cuda":
        if torch.version.hip is not None:
            return "matrix cores"
        has_units = torch.cuda.get_device_capability(device) >= _FIRST_CAPABILITY_WITH_BF16
        return "tensor cores" if has_units else None
    vectors = torch.backends.cpu.get_cpu_capability()  # what torch uses, which may be told less
    if vectors.startswith("AVX512"):
        if torch.cpu._is_amx_tile_supported():
            return "AMX"
        return "AVX-512 bf16" if torch.cpu._is_avx512_bf16_supported() else None
    is_arm = platform.machine() in ("aarch64", "arm64")
    return "Arm bf16" if is_arm and torch.ops.mkldnn._is_mkldnn_bf16_supported() else None


def seed_draws(seed: int, device: torch.device) -> None:
    """Seed what a network draws from in its steps, dropout's masks say, as torch.manual_seed does.

    That one looks for devices of every kind, each time anew.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or `cpu` with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a GPU, None for a CPU."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def versions() -> str:
    """Return the versions that a result was made with."""
    return f"accrete {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
