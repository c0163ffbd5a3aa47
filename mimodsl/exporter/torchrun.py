"""`--to torchrun`: a script that every node of a cluster runs, or one machine alone."""

from collections.abc import Iterator
from typing import Final

from mimodsl.exporter.script import RUN_NODE, environment, head, settings, write_spec
from mimodsl.exporter.target import Launch, Target
from mimodsl.planner.nodes import NodePlan

_ONE_NODE: Final = r"""
export MASTER_ADDR="${MASTER_ADDR:-127.0.0.1}" MASTER_PORT="${MASTER_PORT:-29500}"
NODE_RANK=${NODE_RANK:-0}
"""
_NODES: Final = r"""
export MASTER_ADDR="${MASTER_ADDR:?is to be the name of the first node}"
export MASTER_PORT="${MASTER_PORT:-29500}"
NODE_RANK=${NODE_RANK:?is to be the number of this node, from 0 on}
"""
_MAIN: Final = r"""
if [[ ! $NODE_RANK =~ ^(0|[1-9][0-9]*)$ ]] || ((NODE_RANK >= nodes)); then
  echo "NODE_RANK is $NODE_RANK, and has to be from 0 to $((nodes - 1))" >&2
  exit 2
fi
write_spec
mkdir -p "$folder/logs"
log=$folder/logs/node-$NODE_RANK.log
echo "node $NODE_RANK of $nodes, $(date)" >>"$log"
# Ctrl-C is torchrun's to handle: tee waits for its last words.
(run_node "$NODE_RANK") 2>&1 | tee --append --ignore-interrupts "$log"
"""


def _write(nodes: NodePlan, launch: Launch) -> str:
    return "\n".join(_lines(nodes, launch))


def _lines(nodes: NodePlan, launch: Launch) -> Iterator[str]:
    yield "#!/usr/bin/env bash"
    yield from head(nodes, launch)
    yield "#"
    yield from _how(nodes)
    yield "set -euo pipefail"
    yield ""
    yield from settings(nodes, launch)
    yield ""
    yield from environment(nodes, launch)
    yield (_ONE_NODE if nodes.nodes == 1 else _NODES).rstrip("\n")
    yield RUN_NODE
    yield from write_spec(nodes)
    yield _MAIN


def _how(nodes: NodePlan) -> Iterator[str]:
    if nodes.nodes == 1:
        yield "# Run it with bash; again, it goes on from the last checkpoint."
        return
    yield "# Run it on each node, here the second; again, it goes on from the last checkpoint:"
    yield "#   MASTER_ADDR=name-of-the-first-node NODE_RANK=1 bash this-script"


TORCHRUN: Final = Target(
    name="torchrun",
    help="a script for each node to run",
    options=frozenset(
        {
            "device",
            "gpus_per_node",
            "ranks_per_node",
            "steps",
            "save_every",
            "folder",
            "name",
            "before",
        }
    ),
    write=_write,
)
