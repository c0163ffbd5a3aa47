"""The step loop: builds a spec on this rank, trains and evaluates it, and says how it went."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field, frozen

from mimodsl.ir.spec import Spec
from mimodsl.planner.sharing import SHARE
from mimodsl.runtime.checkpoint.manifest import Checkpoint, SavedCheckpoint
from mimodsl.runtime.request import DataSource
from mimodsl.runtime.tensorboard import TensorBoardLog, log_in
from mimodsl.runtime.traces import Tracer, Tracing

if TYPE_CHECKING:
    from mimodsl.builder.assembly import Assembly
    from mimodsl.data import Data

_STEP = "step "
_SAVING = "saving step "
_EVALUATING = "evaluating step "


class Rank(Protocol):
    """Who this rank is, and whom it tells what it does: a launched `Worker`, or one in place."""

    @property
    def rank(self) -> int: ...

    def phase(self, name: str) -> None: ...

    def report(self, value: Any) -> None: ...


@frozen(kw_only=True)
class Step:
    """One training step, the same on every rank.

    `seconds` is the time of training without that of making synthetic samples. `tokens_per_s`
    counts every token of the global batch, images included. `grad_norm` is `None` where a gradient
    overflowed and nothing was updated.
    """

    step: int
    loss: float
    grad_norm: float | None
    lr: float
    tokens_per_s: float
    seconds: float


@frozen(kw_only=True)
class Evaluation:
    """The model on held-out samples after a step, the same on every rank.

    `tokens` is the number of tokens with a loss, `loss` their mean loss, and `accuracy` the share
    of them that the model finds most likely.
    """

    step: int
    loss: float
    accuracy: float
    tokens: int
    seconds: float


@frozen(kw_only=True)
class Communicator:
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
    groups: tuple[Communicator, ...]
    steps: tuple[Step, ...]
    saved: tuple[SavedCheckpoint, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    trace: Path | None = None


@frozen(kw_only=True)
class Saving:
    """Where a run saves checkpoints: after every `every`-th step if given, and after its last."""

    folder: Path
    every: int | None = None

    def due(self, step: int, last: int) -> bool:
        return step == last or (self.every is not None and step % self.every == 0)


@frozen(kw_only=True)
class Evaluating:
    """When a run evaluates: after every `every`-th step and its last, on the held-out samples of
    as many steps as `steps`, which are always the same."""

    every: int
    steps: int

    def due(self, step: int, last: int) -> bool:
        return step == last or step % self.every == 0


@define(kw_only=True)
class _Diary:
    """What a run has to show on one rank; the first one's is shown at once, and logged."""

    rank: Rank
    logs: TensorBoardLog
    steps: list[Step] = field(factory=list[Step])
    evaluations: list[Evaluation] = field(factory=list[Evaluation])
    saved: list[SavedCheckpoint] = field(factory=list[SavedCheckpoint])

    def add(self, value: Step | Evaluation | SavedCheckpoint) -> None:
        match value:
            case Step():
                self.steps.append(value)
                self.logs.add("train", value)
            case Evaluation():
                self.evaluations.append(value)
                self.logs.add("eval", value)
            case SavedCheckpoint():
                self.saved.append(value)
        if self.rank.rank == 0:
            self.rank.report(value)


@frozen(kw_only=True)
class Training:
    """The work of one rank: to build a checked spec and to train it for some steps.

    With `start` it goes on from a checkpoint, whose steps count: the numbers of steps, and with
    them the data, go on where it ended. `data` is a function of samples, or names one
    (`module:function`); without it they are synthetic. The first rank logs to a folder of `logs`.
    Every rank of an initialised `torch.distributed` world of the spec's size calls it. Raises
    `ValueError` where the world has another size, or the data does not fit the spec, `DataError`
    where a user's data fails, and `CheckpointError` where a checkpoint can't be loaded or saved.
    """

    spec: Spec
    steps: int
    start: Checkpoint | None = None
    saving: Saving | None = None
    share_groups: bool = SHARE
    data: DataSource | None = None
    evaluating: Evaluating | None = None
    logs: Path | None = None
    tracing: Tracing | None = None

    def __call__(self, rank: Rank) -> RankSummary:
        from mimodsl.builder.assembly import assemble

        if self.data:
            rank.phase("data")
        data, held_out = self._samples()
        assembly = assemble(self.spec, share_groups=self.share_groups, on_phase=rank.phase)
        if self.start:
            from mimodsl.runtime.checkpoint.loading import load

            rank.phase("loading the checkpoint")
            loaded = load(assembly, self.start)
            if rank.rank == 0:
                rank.report(loaded)
        tracer = Tracer(tracing=self.tracing, rank=rank.rank)
        with log_in(self.logs if rank.rank == 0 else None, after=self._first) as logs:
            diary = _Diary(rank=rank, logs=logs)
            self._train(assembly, data, held_out, diary, tracer)
        return RankSummary(
            rank=rank.rank,
            parameters=parameters(assembly),
            groups=joined_communicators(),
            steps=tuple(diary.steps),
            saved=tuple(diary.saved),
            evaluations=tuple(diary.evaluations),
            trace=tracer.trace,
        )

    @property
    def _first(self) -> int:
        """The steps that were done before this run."""
        return self.start.manifest.step if self.start else 0

    def _samples(self) -> tuple[Data, Data | None]:
        """What is trained on, and what is evaluated on if anything."""
        from mimodsl.runtime.data import SyntheticData
        from mimodsl.runtime.user_data import DataError, data_name, load_data

        data = load_data(self.spec, self.data) if self.data else SyntheticData(spec=self.spec)
        held_out = data.held_out() if self.evaluating else None
        if self.data and self.evaluating and held_out is None:
            name = data_name(self.data)
            raise DataError(f"{name} holds no samples out to evaluate on: `held_out` says so")
        return data, held_out

    def _train(
        self,
        assembly: Assembly,
        data: Data,
        held_out: Data | None,
        diary: _Diary,
        tracer: Tracer,
    ) -> None:
        last = self._first + self.steps
        for number in range(self._first + 1, last + 1):
            with tracer.step(number - self._first):
                diary.add(self._step(assembly, data, number, diary.rank))
            if self.evaluating and held_out and self.evaluating.due(number, last):
                diary.add(_evaluate(assembly, held_out, number, self.evaluating, diary.rank))
            if self.saving and self.saving.due(number, last):
                diary.add(_save(assembly, self.saving, number, diary.rank))
        if self.saving and not self.steps:
            diary.add(_save(assembly, self.saving, last, diary.rank))

    def _step(self, assembly: Assembly, data: Data, number: int, rank: Rank) -> Step:
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


def _evaluate(
    assembly: Assembly, data: Data, number: int, evaluating: Evaluating, rank: Rank
) -> Evaluation:
    from mimodsl.runtime.data import microbatches

    rank.phase(f"{_EVALUATING}{number}")
    start = time.perf_counter()
    found = assembly.evaluate(
        microbatches(data, step, assembly.process_groups) for step in range(evaluating.steps)
    )
    return Evaluation(
        step=number,
        loss=found.loss,
        accuracy=found.accuracy,
        tokens=found.tokens,
        seconds=time.perf_counter() - start,
    )


def _save(assembly: Assembly, saving: Saving, step: int, rank: Rank) -> SavedCheckpoint:
    from mimodsl.runtime.checkpoint.saving import save

    rank.phase(f"{_SAVING}{step}")
    return save(assembly, saving.folder, step)


def seed_step(assembly: Assembly, number: int) -> None:
    """Make what a step draws, such as dropout, a function of the spec's seed and the step alone.

    Of colocated modules the language model has the say, whose dropout its own tp ranks agree on.
    """
    from mimodsl.builder import model

    spec, here = assembly.spec, assembly.process_groups
    names = {name: name for name in (spec.language.name, *here)}
    model.seed_step(spec.train.seed, names, here, number)


def is_step(phase: str) -> bool:
    """Whether a phase is of a training step, its evaluation or its saving, not of the build."""
    return phase.startswith((_STEP, _SAVING, _EVALUATING))


def tokens_a_step(spec: Spec) -> int:
    """Tokens in the global batch of one step."""
    return spec.batch * spec.schedule.sequence


def parameters(assembly: Any) -> dict[str, int]:
    """How many parameters this rank holds of each of the spec's modules that it runs."""
    from mimodsl.builder.model import modules_of

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


def joined_communicators() -> tuple[Communicator, ...]:
    """The process groups that this process is a member of, the world's included."""
    from torch import distributed as dist
    from torch.distributed import distributed_c10d

    world: Any = distributed_c10d._world  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return tuple(
        Communicator(
            tag=tag,
            names=tuple(group.group_desc.split()),
            ranks=tuple(dist.get_process_group_ranks(group)),
        )
        for group, tag in world.pg_names.items()
    )
