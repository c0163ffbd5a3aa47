"""`--to json`: the spec as a document, every field in it, of the published JSON Schema."""

from typing import Final

from mimodsl.exporter.target import Launch, Target
from mimodsl.lower.document import as_text
from mimodsl.planner.nodes import NodePlan


def _write(nodes: NodePlan, launch: Launch) -> str:  # noqa: ARG001 - what every target is given
    return as_text(nodes.plan.spec)


JSON: Final = Target(
    name="json",
    help="the spec as a JSON document",
    options=frozenset(),
    launches=False,
    write=_write,
)
