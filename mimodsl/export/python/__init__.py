"""`--to python`: a script that assembles and trains the spec with megatron-core alone."""

from typing import Final

from mimodsl.export.python.resolved import Resolved
from mimodsl.export.python.script import script
from mimodsl.export.target import Launch, Target
from mimodsl.plan.nodes import NodePlan


def _write(nodes: NodePlan, launch: Launch) -> str:
    return script(Resolved.of(nodes.plan), launch)


PYTHON: Final = Target(
    name="python",
    help="a script for torchrun that needs megatron-core alone",
    options=frozenset({"steps", "name"}),
    launches=False,
    write=_write,
)
