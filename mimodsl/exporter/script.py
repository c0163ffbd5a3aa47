"""What launch scripts have in common: head, settings, environment, spec, and a node's ranks."""

import shlex
import textwrap
from collections.abc import Iterator

from mimodsl._version import __version__
from mimodsl.exporter.target import Launch
from mimodsl.planner.device import Device
from mimodsl.planner.nodes import NodePlan

RUN_NODE = r"""
# The ranks of one node, which is the first argument, counted from 0. torchrun tells each rank its
# number and ends all of a node when one fails. Its rendezvous is static because c10d's numbers the
# nodes by their names, and ranks have to be where the plan has them.
run_node() {
  local here=$per_node
  if (($1 == nodes - 1)); then here=$((world - $1 * per_node)); fi
  exec "$PYTHON" -m torch.distributed.run \
    --nnodes="$nodes" --node-rank="$1" --nproc-per-node="$here" --max-restarts=0 \
    --rdzv-backend=static --master-addr="$MASTER_ADDR" --master-port="$MASTER_PORT" \
    -m mimodsl build "$folder/spec.mimo" --device "$device" --steps "$steps" \
    --save "$folder/checkpoints" --save-every "$save_every" --resume
}
"""


def head(nodes: NodePlan, launch: Launch) -> Iterator[str]:
    """Comments: what runs where, which groups cross nodes, and where the script is from."""
    world, per_node = f"{nodes.plan.world:,} ranks", f"{nodes.per_node} on each ({nodes.why})"
    if nodes.on_last != nodes.per_node:
        per_node += f", {nodes.on_last} on the last"
    count = "1 node" if nodes.nodes == 1 else f"{nodes.nodes:,} nodes"
    yield from comment(f"{launch.name}: {world} on {count}, {per_node}.")
    crossing = [
        f"{spread.group.name} ({spread.crossing:,} of {spread.group.count:,})"
        for spread in nodes.groups
        if spread.crossing
    ]
    yield from comment(f"Groups that cross nodes: {', '.join(crossing) or 'none'}.")
    source = f" from {launch.source}" if launch.source else ""
    yield from comment(
        f"Written by mimodsl {__version__}{source}, whose text of then stands below."
    )


def settings(nodes: NodePlan, launch: Launch) -> Iterator[str]:
    """The run in variables, which the shells of all its nodes see."""
    yield f"export world={nodes.plan.world} nodes={nodes.nodes} per_node={nodes.per_node}"
    yield f"export device={launch.device} steps={launch.steps} save_every={launch.save_every}"
    yield "# Shared by all nodes: the spec, logs/ and checkpoints/."
    yield f"export folder={shlex.quote(launch.run_folder)}"


def environment(nodes: NodePlan, launch: Launch) -> Iterator[str]:
    """Variables that libraries read, each with its reason; what is set already stays."""
    if launch.before:
        yield "set +u  # what others have written may read variables that are not set"
        yield from launch.before
        yield "set -u"
        yield ""
    yield "# What is set already when the script starts stays as it is."
    yield _default("PYTHON", "python", "one that has mimodsl, torch and megatron-core")
    yield _default("OMP_NUM_THREADS", "1", "the ranks of a node share its cores")
    yield _default("PYTHONUNBUFFERED", "1", "a log has each line when it is printed")
    yield _default("PYTHONFAULTHANDLER", "1", "a crash inside a library leaves a Python stack")
    if launch.device is Device.CPU:
        if nodes.nodes == 1:
            loopback = "gloo needs no network, nor a host name that resolves"
            yield _default("GLOO_SOCKET_IFNAME", "lo", loopback)
        return
    yield _default("NCCL_DEBUG", "WARN", "NCCL says in the log why it failed")
    if any(grid.axis("tp") > 1 or grid.axis("cp") > 1 for grid in nodes.plan.grids):
        # As tensor_parallel/layers.py wants it: "Here we rely on CUDA_DEVICE_MAX_CONNECTIONS=1".
        order = "before Blackwell, tp overlaps only where kernels start in order"
        yield _default("CUDA_DEVICE_MAX_CONNECTIONS", "1", order)


def _default(name: str, value: str, why: str) -> str:
    return f'export {name}="${{{name}:-{value}}}"  # {why}'


def write_spec(nodes: NodePlan) -> Iterator[str]:
    """A shell function that writes the spec, all names and values resolved, into the folder."""
    text = str(nodes.plan.spec)
    end = "END_OF_SPEC"
    while end in text.splitlines():
        end += "_"
    yield "# The spec as it was when this script was written; its file may have changed since."
    yield "write_spec() {"
    yield "  local new"
    yield '  mkdir -p "$folder"'
    yield '  new=$(mktemp "$folder/.spec.XXXXXX")'
    yield f"  cat >\"$new\" <<'{end}'"
    yield text.rstrip("\n")
    yield end
    yield '  chmod u=rw,go=r "$new"'
    yield '  mv "$new" "$folder/spec.mimo"'
    yield "}"


def comment(text: str) -> list[str]:
    """A text as lines of a comment, which it cannot leave: what is not printable is replaced."""
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return textwrap.wrap(printable, 98, initial_indent="# ", subsequent_indent="#   ")
