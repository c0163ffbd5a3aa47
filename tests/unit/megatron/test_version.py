"""The version of megatron-core is one constant, which packaging and machine agree on."""

import tomllib
from importlib.metadata import version
from pathlib import Path

from mimodsl._version import MEGATRON_CORE

ROOT = Path(__file__).parents[3]
PINNED = f"megatron-core=={MEGATRON_CORE}"


def test_the_installed_version_is_the_one_that_was_read() -> None:
    assert version("megatron-core") == MEGATRON_CORE


def test_packaging_pins_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert PINNED in project["optional-dependencies"]["build"]
    assert PINNED in (ROOT / "constraints.txt").read_text().splitlines()


def code_with_version() -> list[str]:
    """The lines of the package, comments and docstrings included, that write the version out."""
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "mimodsl").rglob("*.py"))
        if path.name != "_version.py"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if f'"{MEGATRON_CORE}"' in line
    ]


def test_no_code_writes_the_version_out() -> None:
    assert code_with_version() == []
