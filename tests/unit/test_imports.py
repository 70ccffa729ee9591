"""Which module may import which, and that importing one does nothing."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import accrete

PACKAGE = Path(accrete.__file__).parent
FILES = {
    ".".join(("accrete", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

PURE = (
    *("errors", "checks", "codec", "digest", "plan", "classes", "recipe", "config"),
    *(
        "placement",
        "kubernetes_syntax",
        "gpu_growth",
        "node_spread",
        "train_job",
        "train_job_state",
        "keys",
        "split",
        "seeds",
        "manifests",
        "image_format",
        "sweep",
        "comparison",
        "chain",
        "settings",
        "credentials",
        "convergence",
        "equal_accuracy",
        "spread",
        "instruments",
        "stage_observer",
        "traffic",
        "strict_json",
        "pickles",
        "class_names",
        "step_document",
        "backend_form",
    ),
)
HEAVY = ("torch", "torchvision", "numpy", "PIL", "pyarrow", "minio", "urllib3", "kfp", "kubernetes")
COMPUTE = (
    *("train", "step", "optimizer", "batches", "augmentation", "draws", "order", "image_source"),
    *("residence", "peers", "model", "evaluate", "compilation", "recorded_step", "precision"),
)
STORAGE = (
    *("store", "store_errors", "transport", "cache", "catalog", "prefetch", "inventory", "lineage"),
    *("verification", "collector", "collection_mark", "cache_collection", "forgetting"),
    "snapshot_listing",
)
# The one place that reads the environment, and the modules that start child processes with it.
# settings reads it; the others start processes, or set it for them and for libgomp.
ENVIRONMENT_READERS = {
    "accrete.settings",
    "accrete.local_run",
    "accrete.local_runner",
    "accrete.step_forks",
    "accrete.local_store",
    "accrete.peer_launch",
    "accrete.embedded_keeper",
    "accrete.processes",
}
# Calls that make a constant and do nothing else.
MAKES_AT_IMPORT = {
    *("TypeVar", "ParamSpec", "frozenset", "field", "re.compile"),
    *("Peers", "torch.device", "Instrument", "StageObserver"),
    *(
        "Recipe",
        "Normalization",
        "Toleration",
        "urllib3.Retry",
        "click.Path",
        "click.Choice",
        "click.option",
        "timedelta",
        "optgroup.option",
        "_group",
    ),
}
NOT_AT_IMPORT = {"__name__ == '__main__'", "TYPE_CHECKING"}


@cache
def tree_of(module: str) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(FILES[module].read_text())


def imported_names(node: ast.AST, module: str) -> Iterator[str]:
    """Yield the full names that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module} has a relative import"
        for alias in node.names:
            yield f"{node.module}.{alias.name}"


def imports_of(module: str) -> set[str]:
    """Return all that a module imports, in functions too: its own modules and others' names."""
    found = set()
    for node in ast.walk(tree_of(module)):
        for name in imported_names(node, module):
            own = name if name in FILES else name.rpartition(".")[0]
            found.add(own if own in FILES else name.partition(".")[0])
    return found


def reached_from(module: str) -> set[str]:
    """Return all that a module imports, itself or through another of the package."""
    reached: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        if name in FILES:
            waiting |= imports_of(name) - reached
    return reached


def loaded_by(*modules: str) -> dict[str, Any]:
    """Return what a fresh interpreter has after it imported some modules."""
    program = f"""
import importlib, json, logging, os, signal, sys, threading
environment, path = dict(os.environ), list(sys.path)
handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
for name in {modules!r}:
    importlib.import_module(name)
print(json.dumps({{
    "modules": sorted(sys.modules),
    "log handlers": len(logging.getLogger().handlers),
    "log level": logging.getLogger().level,
    "threads": threading.active_count(),
    "environment kept": dict(os.environ) == environment,
    "path kept": sys.path == path,
    "signals kept": handlers
    == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, f"importing printed {lines[:-1]}"
    loaded: dict[str, Any] = json.loads(lines[0])
    return loaded


def test_the_package_s_modules_are_found() -> None:
    assert {f"accrete.{name}" for name in (*PURE, *COMPUTE, *STORAGE)} <= set(FILES)
    assert "torch" in reached_from("accrete.train")
    assert "minio" in reached_from("accrete.cache")


@pytest.mark.parametrize("name", PURE)
def test_pure_module_reaches_nothing_but_the_standard_library(name: str) -> None:
    reached = reached_from(f"accrete.{name}") - set(FILES)
    assert reached <= sys.stdlib_module_names


def test_pure_modules_load_no_heavy_library() -> None:
    loaded = {
        name.partition(".")[0] for name in loaded_by(*(f"accrete.{p}" for p in PURE))["modules"]
    }
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("name", COMPUTE)
def test_compute_never_sees_a_store(name: str) -> None:
    reached = reached_from(f"accrete.{name}")
    assert not reached & {f"accrete.{storage}" for storage in STORAGE}
    assert not reached & {"minio", "urllib3", "kfp", "pyarrow"}


@pytest.mark.parametrize("name", STORAGE)
def test_storage_never_sees_a_tensor(name: str) -> None:
    reached = reached_from(f"accrete.{name}")
    assert not reached & {"torch", "torchvision", "numpy", "kfp", "pyarrow"}
    assert not reached & {f"accrete.{compute}" for compute in COMPUTE}


def test_storage_loads_neither_torch_nor_numpy() -> None:
    loaded = set(loaded_by(*(f"accrete.{name}" for name in STORAGE))["modules"])
    assert not loaded & {"torch", "numpy"}


@pytest.mark.parametrize(
    "name",
    [*("cli", "pipeline_file", "requests", "sources", "local_runner", "step_forks"),
     *("steps", "train_steps", "prepare", "report_html")],
)  # fmt: skip
def test_command_line_and_sources_import_torch_only_where_it_is_needed(name: str) -> None:
    assert "torch" not in loaded_by(f"accrete.{name}")["modules"]


def test_training_imports_neither_torch_s_compiler_nor_torchvision() -> None:
    loaded = set(loaded_by("accrete.stage", "accrete.peers", "accrete.residence")["modules"])
    assert "torch" in loaded
    assert not loaded & {"torch._dynamo", "torch._inductor", "torchvision"}


@pytest.mark.parametrize("module", FILES)
def test_only_settings_and_process_launchers_read_the_environment(module: str) -> None:
    readers = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute):
            found |= {node.attr} & readers
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            found |= {alias.name for alias in node.names} & readers
    assert not found or module in ENVIRONMENT_READERS


def statements_run_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that importing runs; a class's body is, a function's is not."""
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield from statements_run_at_import(statement.body)
        elif isinstance(statement, ast.If) and ast.unparse(statement.test) in NOT_AT_IMPORT:
            continue
        elif not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield statement


@pytest.mark.parametrize("module", FILES)
def test_importing_a_module_only_makes_constants(module: str) -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    for statement in statements_run_at_import(tree_of(module).body):
        text = ast.unparse(statement)
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        protocol = isinstance(statement, ast.Pass)
        longer = isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name)
        assert isinstance(statement, allowed) or docstring or protocol or longer, text
        calls = {ast.unparse(n.func) for n in ast.walk(statement) if isinstance(n, ast.Call)}
        assert calls <= MAKES_AT_IMPORT, text


def test_importing_every_module_changes_nothing_in_the_process() -> None:
    state = loaded_by(*FILES)
    del state["modules"]
    assert state == {
        "log handlers": 0,
        "log level": 30,
        "threads": 1,
        "environment kept": True,
        "path kept": True,
        "signals kept": True,
    }
