"""Whether what is asked of an export can be done, before any work and without torch."""

from importlib import import_module
from pathlib import Path
from typing import Any

from accrete.errors import ConfigError, InputError

FORMATS = ("safetensors", "onnx")
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def check_export(output: Path, format_name: str | None, *, force: bool) -> str:
    """Return the format that is meant, `safetensors` or `onnx`, before any work.

    Args:
        output: the file to make.
        format_name: the format; None: by the file's suffix.
        force: replace a file that is there.

    Raises:
        InputError: the suffix tells no format, a file is there, or a package is missing.
    """
    named = format_name or output.suffix.lower().removeprefix(".")
    if named not in FORMATS:
        raise ConfigError(
            f"output is {output}: name it .safetensors or .onnx, or give --format safetensors|onnx"
        )
    try:
        _check_place(output, force=force)
    except (OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or error
        raise InputError(f"output {output} cannot be made ({detail})") from error
    if named == "onnx":
        check_onnx_is_installed()
    return named


def _check_place(output: Path, *, force: bool) -> None:
    if output.is_dir():
        raise InputError(f"output {output} is a folder: name a file in it")
    if output.exists() and not force:
        raise InputError(f"output {output} exists: choose another name, or --force to replace it")
    if not output.parent.is_dir():
        raise InputError(f"output {output} cannot be made: there is no folder {output.parent}")


def check_onnx_is_installed() -> None:
    """Refuse to begin what a missing package would end.

    Raises:
        InputError: says what to install.
    """
    for name in _ONNX_PACKAGES:
        optional_module(name)


def optional_module(name: str) -> Any:
    """Return a module of the optional dependencies `onnx`.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"exporting to ONNX needs {name}, which cannot be imported ({error}): "
            "pip install 'accrete[onnx]'"
        ) from error
