"""Runs the builder with stand-ins for torch and megatron-core, so that it writes what it calls.

The builder decides what megatron-core is told of a spec. A script is to tell it the same, so the
files of `mimodsl.builder` are run here as they are, except that whatever they import from torch and
megatron-core is `Code`: what they would make comes out as the expression that makes it, values in
place and branches taken.
"""

import ast
import builtins
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from mimodsl.exporter.python.code import Code, name

PACKAGE: Final = Path(__file__).parents[2]
_FOREIGN: Final = ("torch", "megatron")
_OURS: Final = ("mimodsl.builder.", "mimodsl.megatron.")


def builder_files() -> dict[str, Path]:
    """The files whose definitions a script may copy, by module name without its package."""
    paths = [*(PACKAGE / "builder").glob("*.py"), *(PACKAGE / "megatron").glob("*.py")]
    not_copied = ("__init__", "meta_device", "patch")
    return {path.stem: path for path in sorted(paths) if path.stem not in not_copied}


class Traced:
    """The files of the builder, each run once; an attribute is a file's names."""

    def __init__(self) -> None:
        self._files: dict[str, ModuleType] = {}

    def __getattr__(self, file: str) -> ModuleType:
        if file not in self._files:
            self._files[file] = self._run(file)
        return self._files[file]

    def _run(self, file: str) -> ModuleType:
        path = builder_files()[file]
        found = ModuleType(f"{path.parent.name}.{file}")
        vars(found)["__builtins__"] = {**vars(builtins), "__import__": self._import}
        exec(compile(path.read_text(), path, "exec"), vars(found))  # noqa: S102 - our own file
        return found

    def _import(
        self,
        module: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        if module.partition(".")[0] in _FOREIGN:
            return _Foreign() if fromlist else name(module.partition(".")[0])
        if module.startswith(_OURS):
            return getattr(self, module.rpartition(".")[2])
        return __import__(module, globals, locals, fromlist, level)


class _Foreign:
    """A module of another package, of which names are taken."""

    def __getattr__(self, found: str) -> Code:
        return Code(ast.Name(found, ast.Load()))
