#!/usr/bin/env python3
"""Fuzz one reader by coverage: `python tests/fuzz/fuzz.py --target=NAME [-OPTION=…] [CORPUS…]`.

Atheris counts the branches of our and Pillow's Python. The C and C++ below (Arrow, image decoders,
safetensors, torch) is not instrumented: it is fed, and must not crash, but nothing steers towards
its branches.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["accrete", "PIL"]):
    sys.path.insert(0, str(Path(__file__).parent))
    import mutators
    import targets

_OPTION = "--target="
"""libFuzzer passes over what begins with two dashes, and hands it to the processes it starts."""


def mutator_of(name: str) -> Callable[[bytes, int, int], bytes]:
    """Return what changes an input of a target, as atheris calls it."""
    mutate = mutators.MUTATORS[name]
    return lambda data, max_size, seed: mutate(data, max_size, atheris.Mutate, seed)


def main() -> None:
    """Hand the process to libFuzzer."""
    given = [word.removeprefix(_OPTION) for word in sys.argv if word.startswith(_OPTION)]
    if len(given) != 1 or given[0] not in targets.TARGETS:
        sys.exit(f"give {_OPTION}NAME: {', '.join(targets.TARGETS)}")
    (name,) = given
    atheris.Setup(
        sys.argv,
        lambda data: targets.run_target(name, data),
        **({"custom_mutator": mutator_of(name)} if name in mutators.MUTATORS else {}),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
