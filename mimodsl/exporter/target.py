"""What a target of `mimodsl export` is, and what it is told of the run."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen

from mimodsl.planner.device import Device
from mimodsl.planner.nodes import NodePlan, node_plan
from mimodsl.planner.plan import Plan
from mimodsl.wrong_options import WrongOptions


@frozen(kw_only=True)
class Launch:
    """A run on a cluster, as far as neither the spec nor the cluster says it.

    `source` names the spec in the script's head. `steps` are the run's in all, however often it is
    started again, which a failure may do `retries` times without a new checkpoint between. `before`
    are shell commands, and `sbatch` options of sbatch, to be taken as they are.
    """

    name: str = "model"
    source: str = ""
    device: Device = field(default=Device.CUDA, converter=Device)
    gpus_per_node: int = 8
    ranks_per_node: int | None = None
    steps: int = 10
    save_every: int = 100
    folder: str = ""
    before: tuple[str, ...] = field(default=(), converter=tuple)
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    retries: int = 3
    sbatch: tuple[str, ...] = field(default=(), converter=tuple)

    @property
    def run_folder(self) -> str:
        """Where spec, logs and checkpoints lie, on a file system that all nodes share."""
        return self.folder or f"runs/{self.name}"

    def nodes(self, plan: Plan) -> NodePlan:
        """The run's ranks on nodes. `ValueError` where a node cannot have so many."""
        wanted = self.ranks_per_node
        if wanted and wanted > self.gpus_per_node and self.device is Device.CUDA:
            raise ValueError(
                f"{wanted} ranks a node need as many GPUs, a node has {self.gpus_per_node}"
            )
        return node_plan(plan, self.gpus_per_node, wanted)


@frozen(kw_only=True)
class Target:
    """Something that a spec can be exported to.

    `options` are the fields of `Launch` that it makes use of. Where it `launches` ranks, the
    command shows how they lie on nodes, too.
    """

    name: str
    help: str
    options: frozenset[str]
    write: Callable[[NodePlan, Launch], str]
    launches: bool = True

    def launch(self, options: Mapping[str, Any], **defaults: str) -> Launch:
        """The run with these options, and these defaults instead of those of `Launch`.

        Raises `WrongOptions` for an option that this target has no use for.
        """
        for name in options:
            if name not in self.options:
                raise WrongOptions(f"{{{name}}} is not for {{to:={self.name}}}")
        values: dict[str, Any] = {**defaults, **options}
        return Launch(**values)
