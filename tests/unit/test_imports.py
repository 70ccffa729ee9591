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

HEAVY = ("torch", "torchvision", "numpy", "PIL", "pyarrow", "minio", "urllib3", "kfp", "kubernetes")
# The one place that reads the environment, and the modules that start child processes with it.
# settings reads it; the others start processes, or set it for them and for libgomp.
ENVIRONMENT_READERS = {
    "accrete.core.settings",
    "accrete.store.settings",
    "accrete.runners.local",
    "accrete.runners.local_process",
    "accrete.runners.step_forks",
    "accrete.runners.kubeflow._kubeconfig",
    "accrete.store.local",
    "accrete.steps._peer_launch",
    "accrete.store.embedded_keeper",
    "accrete.core.processes",
}
# Calls that make a constant and do nothing else.
MAKES_AT_IMPORT = {
    *("TypeVar", "ParamSpec", "frozenset", "field", "re.compile", "dict.fromkeys"),
    *("Peers", "torch.device", "Instrument", "StageObserver"),
    *(
        "Recipe",
        "Contestant",
        "Packing",
        "Normalization",
        "Toleration",
        "urllib3.Retry",
        "click.Path",
        "click.Choice",
        *("click.option", "click.argument"),
        "timedelta",
        *("Option", "Group", "numbers", "Variable", "takes"),
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


def names_in(package: str) -> list[str]:
    """Return a package's modules."""
    return [name for name in FILES if name.startswith(f"accrete.{package}.")]


@pytest.mark.parametrize("module", FILES)
def test_private_module_is_imported_by_its_own_package_alone(module: str) -> None:
    for node in ast.walk(tree_of(module)):
        for name in imported_names(node, module):
            package, _, private = name.partition("._")
            is_module = private and "." in f"{private}."
            if is_module and f"{package}._{private.partition('.')[0]}" in FILES:
                assert module.startswith(f"{package}."), f"{module} imports {name}"


@pytest.mark.parametrize("module", [name for name in FILES if FILES[name].name == "__init__.py"])
def test_package_says_what_it_is_for(module: str) -> None:
    assert len((ast.get_docstring(tree_of(module)) or "").split()) > 5


@pytest.mark.parametrize("module", FILES)
def test_module_is_short_enough_to_be_held_in_the_head(module: str) -> None:
    assert len(FILES[module].read_text().splitlines()) <= 400


def test_what_a_run_is_loads_no_heavy_library() -> None:
    pure = [name for name in names_in("config") if name != "accrete.config.cost"]
    loaded = loaded_by(*pure, "accrete.catalog.identity", "accrete.steps.train_job")["modules"]
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


def test_storage_loads_neither_torch_nor_numpy() -> None:
    loaded = set(loaded_by(*names_in("store"), *names_in("catalog"))["modules"])
    assert not loaded & {"torch", "numpy"}


@pytest.mark.parametrize(
    "name",
    [
        *("cli.main", "runners.pipeline_file", "data.sources.opening", "runners.step_forks"),
        *("runners.local_process", "steps.prepare", "steps.train", "steps.report"),
        *("data.prepare", "reports.run_page"),
    ],
)
def test_command_line_and_sources_import_torch_only_where_it_is_needed(name: str) -> None:
    assert "torch" not in loaded_by(f"accrete.{name}")["modules"]


def test_training_imports_neither_torch_s_compiler_nor_torchvision() -> None:
    loaded = set(
        loaded_by(
            "accrete.stages.run", "accrete.training.distributed", "accrete.training.image_source"
        )["modules"]
    )
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


def test_no_two_modules_define_the_same_public_name() -> None:
    owners: dict[str, list[str]] = {}
    for module in FILES:
        for node in tree_of(module).body:
            is_definition = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            if is_definition and not node.name.startswith("_") and node.name != "main":
                owners.setdefault(node.name, []).append(module)
    assert {name: among for name, among in owners.items() if len(among) > 1} == {}
