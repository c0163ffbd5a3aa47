"""`--to json`: the spec as a document, every field in it, of the published JSON Schema."""

import json
from typing import Final

from mimodsl.export.target import Launch, Target
from mimodsl.ir.document import as_document
from mimodsl.plan.nodes import NodePlan


def _write(nodes: NodePlan, launch: Launch) -> str:  # noqa: ARG001 - what every target is given
    return json.dumps(as_document(nodes.plan.spec), indent=2, ensure_ascii=False) + "\n"


JSON: Final = Target(
    name="json",
    help="the spec as a JSON document",
    options=frozenset(),
    launches=False,
    write=_write,
)
