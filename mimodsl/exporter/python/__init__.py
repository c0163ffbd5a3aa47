"""`--to python`: a script that assembles and trains the spec with megatron-core alone."""

from typing import Final

from mimodsl.exporter.python.script import script
from mimodsl.exporter.target import Launch, Target
from mimodsl.planner.nodes import NodePlan


def _write(nodes: NodePlan, launch: Launch) -> str:
    return script(nodes.plan, launch)


PYTHON: Final = Target(
    name="python",
    help="a script for torchrun that needs megatron-core alone",
    options=frozenset({"steps", "name"}),
    launches=False,
    write=_write,
)
