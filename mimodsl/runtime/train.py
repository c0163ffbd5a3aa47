"""The step loop: builds a spec on this rank, trains it on synthetic data and says how it went."""

import time
from collections import Counter
from typing import Any, Protocol

from attrs import frozen

from mimodsl.ir.spec import Spec

_STEP = "step "


class Rank(Protocol):
    """Who this rank is, and whom it tells what it does: a launched `Worker`, or one in place."""

    @property
    def rank(self) -> int: ...

    def phase(self, name: str) -> None: ...

    def report(self, value: Any) -> None: ...


@frozen(kw_only=True)
class Step:
    """One training step, the same on every rank.

    `tokens_per_s` counts every token of the global batch, images included. `grad_norm` is `None`
    where a gradient overflowed and nothing was updated.
    """

    step: int
    loss: float
    grad_norm: float | None
    tokens_per_s: float
    seconds: float


@frozen(kw_only=True)
class Group:
    """A process group that was created: its description and its members.

    `tag` is torch's own name for it, which the members agree on.
    """

    tag: str
    name: str
    ranks: tuple[int, ...]


@frozen(kw_only=True)
class RankSummary:
    """What a run came to on one rank: its share of each module, and the groups that it is in."""

    rank: int
    parameters: dict[str, int]
    groups: tuple[Group, ...]
    steps: tuple[Step, ...]


@frozen(kw_only=True)
class Training:
    """The work of one rank: to build a checked spec and to train it for some steps.

    Every rank of an initialised `torch.distributed` world of the spec's size calls it. Raises
    `ValueError` where the world has another size, or the data does not fit the spec.
    """

    spec: Spec
    steps: int

    def __call__(self, rank: Rank) -> RankSummary:
        from mimodsl.build.assembly import assemble

        assembly = assemble(self.spec, on_phase=rank.phase)
        return RankSummary(
            rank=rank.rank,
            parameters=parameters(assembly),
            groups=groups_joined(),
            steps=tuple(self._train(assembly, rank)),
        )

    def _train(self, assembly: Any, rank: Rank) -> list[Step]:
        from mimodsl.runtime.data import SyntheticData, microbatches

        data = SyntheticData(spec=self.spec)
        steps: list[Step] = []
        for number in range(1, self.steps + 1):
            rank.phase(f"{_STEP}{number}")
            start = time.perf_counter()
            result = assembly.train_step(
                list(microbatches(data, number - 1, assembly.process_groups))
            )
            seconds = time.perf_counter() - start
            steps.append(
                Step(
                    step=number,
                    loss=result.loss,
                    grad_norm=result.grad_norm,
                    tokens_per_s=tokens_a_step(self.spec) / seconds,
                    seconds=seconds,
                )
            )
            if rank.rank == 0:
                rank.report(steps[-1])
        return steps


def is_step(phase: str) -> bool:
    """Whether a phase is a training step, not one of the build's."""
    return phase.startswith(_STEP)


def tokens_a_step(spec: Spec) -> int:
    """Tokens in the global batch of one step."""
    schedule, replicas = spec.schedule, spec.grid_of(spec.language).size("dp")
    return schedule.sequence * schedule.micro_batch * schedule.microbatches * replicas


def parameters(assembly: Any) -> dict[str, int]:
    """How many parameters this rank holds of each of the spec's modules that it runs."""
    from mimodsl.build.model import modules_of

    spec: Spec = assembly.spec
    projectors = {flow.encoder: flow.projector for flow in spec.flows}
    counts: Counter[str] = Counter()
    for key, module in modules_of(assembly.model).items():
        for name, parameter in module.named_parameters():
            # A modality holds its encoder and, as an input projection, its projector
            # (models/mimo/submodules/base.py).
            if key not in projectors:
                counts[spec.language.name] += parameter.numel()
            elif "input_projections." in name:
                counts[projectors[key] or key] += parameter.numel()
            else:
                counts[key] += parameter.numel()
    return dict(counts)


def groups_joined() -> tuple[Group, ...]:
    """The process groups that this process is a member of, the world's included."""
    from torch import distributed as dist
    from torch.distributed import distributed_c10d

    world: Any = distributed_c10d._world  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return tuple(
        Group(tag=tag, name=group.group_desc, ranks=tuple(dist.get_process_group_ranks(group)))
        for group, tag in world.pg_names.items()
    )
