"""mimodsl: a small language and a builder for heterogeneous-parallel multimodal models.

`load` and `parse` read specs, `check` finds their mistakes, `plan` lays them out over ranks and
`train` trains them. `build` makes one rank's part for a training loop of your own; `join` makes a
process that rank. Python code can write a spec, too, with the classes of `mimodsl.ir`, which are
also names of this package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mimodsl._version import __version__
from mimodsl.api import (
    InvalidSpec,
    Variant,
    build,
    build_on_meta,
    check,
    diff,
    export,
    from_json,
    join,
    json_schema,
    load,
    parse,
    plan,
    sweep,
    to_json,
    train,
    verify,
)

if TYPE_CHECKING:
    from mimodsl.ir import *  # noqa: F403
    from mimodsl.ir import Spec

__all__ = [
    "InvalidSpec",
    "Spec",
    "Variant",
    "__version__",
    "build",
    "build_on_meta",
    "check",
    "diff",
    "export",
    "from_json",
    "join",
    "json_schema",
    "load",
    "parse",
    "plan",
    "sweep",
    "to_json",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    """The names of `mimodsl.ir`, imported when one is first asked for."""
    ir = import_module("mimodsl.ir")
    if name not in ir.__all__:
        raise AttributeError(f"module 'mimodsl' has no attribute {name!r}")
    return getattr(ir, name)
