"""tools/install.py: what it asks uv and pip for, and which index uv is sent to."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
LOCK = """\
click==8.5.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
cuda-toolkit==13.2.2 ; sys_platform == 'linux' \\
    --hash=sha256:cc
nvidia-cublas==13.4.1.3 ; sys_platform == 'linux' \\
    --hash=sha256:dd
torch==2.15.0 \\
    --hash=sha256:ee
torchvision==0.29.2 \\
    --hash=sha256:ff
uv==0.13.9 \\
    --hash=sha256:00
"""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / "tools" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stand_ins(
    folder: Path, tool: ModuleType, monkeypatch: pytest.MonkeyPatch, **codes: str
) -> Path:
    """Put programs in the place of uv and pip that note their arguments and do as the code says."""
    for name, constant in (("uv", "UV"), ("pip", "PIP")):
        path = folder / name
        path.write_text(
            f'#!/bin/bash\necho "{name} $*" >> "{folder}/calls"\n{codes.get(name, "")}\n'
        )
        path.chmod(0o755)
        monkeypatch.setattr(tool, constant, (str(path),))
    return folder / "calls"


def test_every_package_of_the_lock_is_an_entry(tool: ModuleType) -> None:
    text = tool.LOCK.read_text()
    assert "".join(entry for _, _, entry in tool.entries(text)) == text
    assert {"torch", "uv", "setuptools"} <= {name for name, _, _ in tool.entries(text)}


def test_the_lock_is_installed_whole_and_then_the_package(tool: ModuleType, tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    assert tool.steps(LOCK, tmp_path, with_uv=True) == [
        ["--no-deps", "--require-hashes", "--requirement", str(requirements)],
        ["--no-deps", "--no-build-isolation", "--editable", "."],
    ]
    assert requirements.read_text() == LOCK


def test_torch_of_another_index_comes_by_version_and_without_cuda_s_packages(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = stand_ins(tmp_path, tool, monkeypatch)
    tool.install(LOCK, tmp_path, None, "https://cpu.example")
    torch = "--no-deps --index-url https://cpu.example torch==2.15.0 torchvision==0.29.2"
    assert f"pip install {torch}" in calls.read_text().splitlines()
    rest = (tmp_path / "requirements.txt").read_text()
    assert [name for name, _, _ in tool.entries(rest)] == ["click", "uv"]


def test_an_extra_keeps_to_the_lock_s_versions(tool: ModuleType, tmp_path: Path) -> None:
    (step,) = tool.extra_steps(LOCK, tmp_path, "bench")
    assert step == ["--constraint", str(tmp_path / "constraints.txt"), "--editable", ".[bench]"]
    assert (tmp_path / "constraints.txt").read_text().splitlines()[:2] == [
        "click==8.5.1",
        "cuda-toolkit==13.2.2",
    ]


def test_a_variable_of_pip_counts_before_its_files(tool: ModuleType) -> None:
    listing = (
        ":env:.index-url='https://first.example/simple'\n"
        "global.index-url='https://third.example/simple'\n"
        "install.index-url='https://second.example/simple'\n"
        "install.no-index='true'\n"
        "freeze.timeout='10'\n"
    )
    assert tool.pip_settings(listing) == {
        "index-url": "https://first.example/simple",
        "no-index": "true",
    }


def test_uv_is_sent_to_pip_s_index(tool: ModuleType) -> None:
    settings = {
        "index-url": "https://user:word@one.example/simple",
        "extra-index-url": "\nhttps://two.example\nhttps://three.example",
        "find-links": "/wheels /more",
        "cert": "/etc/ca.pem",
        "default-timeout": "180",
    }
    assert tool.for_uv(settings, {"HOME": "/root"}) == {
        "HOME": "/root",
        "UV_DEFAULT_INDEX": "https://user:word@one.example/simple",
        "UV_INDEX": "https://two.example https://three.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_HTTP_TIMEOUT": "180",
    }


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_an_index_that_uv_was_given_is_kept(tool: ModuleType, variable: str) -> None:
    given = {variable: "https://own.example"}
    assert tool.for_uv({"index-url": "https://pip.example"}, given) == given


def test_nothing_set_for_pip_sets_nothing_for_uv(tool: ModuleType) -> None:
    assert tool.for_uv({}, {"PATH": "/bin"}) == {"PATH": "/bin"}


def test_pip_fetches_uv_and_uv_installs(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = stand_ins(tmp_path, tool, monkeypatch)
    tool.install(LOCK, tmp_path, None, "")
    assert [" ".join(line.split()[:2]) for line in calls.read_text().splitlines()] == [
        "pip config", "pip install", "uv install", "uv install",
    ]  # fmt: skip
    assert (tmp_path / "uv.txt").read_text() == "uv==0.13.9 \\\n    --hash=sha256:00\n"


@pytest.mark.parametrize("value", ["", "1"])
def test_modules_are_compiled_where_python_may_write_none_later(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", value)
    calls = stand_ins(tmp_path, tool, monkeypatch)
    tool.install(LOCK, tmp_path, None, "")
    lines = [line for line in calls.read_text().splitlines() if line.startswith("uv ")]
    assert ["--compile-bytecode" in line for line in lines] == [bool(value)] * 2


def test_pip_installs_where_uv_fails_and_it_is_said(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    calls = stand_ins(tmp_path, tool, monkeypatch, uv="exit 2")
    tool.install(LOCK, tmp_path, None, "")
    lines = calls.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["pip", "pip", "uv", "pip", "pip"]
    assert lines[-1] == "pip install --no-deps --no-build-isolation --editable ."
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("setup: uv could not do it (")
    assert said.endswith("ended with 2): pip does, which takes minutes longer")


def test_where_uv_cannot_be_had_pip_installs_all_others(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = stand_ins(tmp_path, tool, monkeypatch, pip='[[ "$*" != */uv.txt ]]')
    tool.install(LOCK, tmp_path, None, "")
    assert [line.split()[0] for line in calls.read_text().splitlines()] == ["pip"] * 4
    names = [name for name, _, _ in tool.entries((tmp_path / "requirements.txt").read_text())]
    assert names == ["click", "cuda-toolkit", "nvidia-cublas", "torch", "torchvision"]


def test_where_neither_can_it_is_an_error(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins(tmp_path, tool, monkeypatch, uv="exit 2", pip='[ "$1" = config ]')
    with pytest.raises(tool.InstallError, match="ended with 1"):
        tool.install(LOCK, tmp_path, None, "")
