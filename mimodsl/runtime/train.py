"""The step loop: builds a spec on this rank, trains it on synthetic data and says how it went."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from mimodsl.ir.spec import Spec
from mimodsl.plan.sharing import SHARE
from mimodsl.runtime.checkpoint.manifest import Checkpoint, Saved

if TYPE_CHECKING:
    from mimodsl.build.assembly import Assembly
    from mimodsl.runtime.data import SyntheticData

_STEP = "step "
_SAVING = "saving step "


class Rank(Protocol):
    """Who this rank is, and whom it tells what it does: a launched `Worker`, or one in place."""

    @property
    def rank(self) -> int: ...

    def phase(self, name: str) -> None: ...

    def report(self, value: Any) -> None: ...


@frozen(kw_only=True)
class Step:
    """One training step, the same on every rank.

    `seconds` are those of training, without those in which synthetic samples are made.
    `tokens_per_s` counts every token of the global batch, images included. `grad_norm` is `None`
    where a gradient overflowed and nothing was updated.
    """

    step: int
    loss: float
    grad_norm: float | None
    lr: float
    tokens_per_s: float
    seconds: float


@frozen(kw_only=True)
class Group:
    """A process group that was created: all names of the plan that it serves, and its members.

    `tag` is torch's own name for it, which the members agree on.
    """

    tag: str
    names: tuple[str, ...]
    ranks: tuple[int, ...]


@frozen(kw_only=True)
class RankSummary:
    """What a run came to on one rank: its share of each module, and the groups that it is in."""

    rank: int
    parameters: dict[str, int]
    groups: tuple[Group, ...]
    steps: tuple[Step, ...]
    saved: tuple[Saved, ...] = ()


@frozen(kw_only=True)
class Saving:
    """Where a run saves checkpoints: after every `every`-th step if given, and after its last."""

    folder: Path
    every: int | None = None

    def due(self, step: int, last: int) -> bool:
        return step == last or (self.every is not None and step % self.every == 0)


@frozen(kw_only=True)
class Training:
    """The work of one rank: to build a checked spec and to train it for some steps.

    With `start` it goes on from a checkpoint, whose steps count: the numbers of steps, and with
    them the data, go on where it ended. Every rank of an initialised `torch.distributed` world of
    the spec's size calls it. Raises `ValueError` where the world has another size, or the data does
    not fit the spec, and `CheckpointError` where a checkpoint can't be loaded or saved.
    """

    spec: Spec
    steps: int
    start: Checkpoint | None = None
    saving: Saving | None = None
    share_groups: bool = SHARE

    def __call__(self, rank: Rank) -> RankSummary:
        from mimodsl.build.assembly import assemble

        assembly = assemble(self.spec, share_groups=self.share_groups, on_phase=rank.phase)
        if self.start:
            from mimodsl.runtime.checkpoint.loading import load

            rank.phase("loading the checkpoint")
            loaded = load(assembly, self.start)
            if rank.rank == 0:
                rank.report(loaded)
        steps, saved = self._train(assembly, rank)
        return RankSummary(
            rank=rank.rank,
            parameters=parameters(assembly),
            groups=groups_joined(),
            steps=tuple(steps),
            saved=tuple(saved),
        )

    def _train(self, assembly: Assembly, rank: Rank) -> tuple[list[Step], list[Saved]]:
        from mimodsl.runtime.data import SyntheticData

        data = SyntheticData(spec=self.spec)
        first = self.start.manifest.step if self.start else 0
        last = first + self.steps
        steps: list[Step] = []
        saved: list[Saved] = []
        for number in range(first + 1, last + 1):
            steps.append(self._step(assembly, data, number, rank))
            if rank.rank == 0:
                rank.report(steps[-1])
            if self.saving and self.saving.due(number, last):
                saved.append(_save(assembly, self.saving, number, rank))
        if self.saving and not steps:
            saved.append(_save(assembly, self.saving, last, rank))
        return steps, saved

    def _step(self, assembly: Assembly, data: SyntheticData, number: int, rank: Rank) -> Step:
        from mimodsl.runtime.data import microbatches

        def on_phase(name: str) -> None:
            rank.phase(f"{_STEP}{number}, {name}")

        rank.phase(f"{_STEP}{number}")
        seed_step(assembly, number)
        samples = list(microbatches(data, number - 1, assembly.process_groups))
        start = time.perf_counter()
        result = assembly.train_step(samples, on_phase=on_phase)
        seconds = time.perf_counter() - start
        return Step(
            step=number,
            loss=result.loss,
            grad_norm=result.grad_norm,
            lr=result.lr,
            tokens_per_s=tokens_a_step(self.spec) / seconds,
            seconds=seconds,
        )


def _save(assembly: Assembly, saving: Saving, step: int, rank: Rank) -> Saved:
    from mimodsl.runtime.checkpoint.saving import save

    rank.phase(f"{_SAVING}{step}")
    saved = save(assembly, saving.folder, step)
    if rank.rank == 0:
        rank.report(saved)
    return saved


def seed_step(assembly: Assembly, number: int) -> None:
    """Make what a step draws, such as dropout, a function of the spec's seed and the step alone.

    So no checkpoint needs the states of generators, which another layout could not take up. Of
    colocated modules the language model has the say, whose dropout its own tp ranks agree on.
    """
    from mimodsl.build.model import seed_module

    spec, here = assembly.spec, assembly.process_groups
    name = spec.language.name if spec.language.name in here else next(iter(here))
    seed_module(spec.train.seed, f"{name} {_STEP}{number}", here[name])


def is_step(phase: str) -> bool:
    """Whether a phase is a training step or its saving, not one of the build's."""
    return phase.startswith((_STEP, _SAVING))


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
        Group(
            tag=tag,
            names=tuple(group.group_desc.split()),
            ranks=tuple(dist.get_process_group_ranks(group)),
        )
        for group, tag in world.pg_names.items()
    )
