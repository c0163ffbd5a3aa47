"""The programs of a step: every pass of the schedule with the calls around it, by rank."""

from collections.abc import Iterator

from attrs import frozen

from mimodsl.checker.proof.collectives import (
    MegatronModule,
    backward,
    finish,
    forward,
    megatron_modules,
    reductions,
)
from mimodsl.checker.proof.communication import (
    PipelineNeighbour,
    PipelineNeighbours,
    neighbours,
)
from mimodsl.checker.proof.faults import Fault
from mimodsl.checker.proof.machine import run
from mimodsl.checker.proof.program import Action, Operation, Program
from mimodsl.checker.proof.small_world import SmallWorld
from mimodsl.ir.axes import PP
from mimodsl.planner.bridges import BridgePlan
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.plan import Layout
from mimodsl.planner.schedule import Pass, PassKind, StageSchedule

type Programs = dict[int, Program]


def prove_step(world: SmallWorld) -> Fault | None:
    """The first fault of a step, or `None` if every rank reaches its end.

    With more microbatches than stages, a step has a beginning, equal iterations, and an end. Each
    part runs on its own, and no message is on its way before or after it. If all parts end, a step
    with any number of iterations ends.
    """
    for phase in step_phases(world):
        fault = run(phase)
        if fault is not None:
            return fault
    return None


def programs(world: SmallWorld) -> Programs:
    """The programs of a complete step, by rank, of any length."""
    return {rank: step.complete() for rank, step in _rank_steps(world).items()}


def step_phases(world: SmallWorld) -> Iterator[Programs]:
    """The programs of a step by rank: a complete step, or its beginning, an iteration, its end."""
    steps = _rank_steps(world)
    microbatches, stages = world.plan.spec.schedule.microbatches, world.plan.stages
    equal_iterations = microbatches - stages
    if equal_iterations < 1:
        yield {rank: step.complete() for rank, step in steps.items()}
        return
    yield {rank: tuple(step.begin()) for rank, step in steps.items()}
    yield {rank: tuple(step.iterations(range(1))) for rank, step in steps.items()}
    yield {rank: tuple(step.end(equal_iterations)) for rank, step in steps.items()}


@frozen(kw_only=True, eq=False)
class RankStep:
    """The step of a rank (pipeline_parallel/schedules.py forward_backward_pipelining_without_...).

    It has the calls of the communicator by name, and the collectives of the passes.
    """

    schedule: StageSchedule
    neighbours: PipelineNeighbours
    forward: tuple[Operation, ...]
    backward: tuple[Operation, ...]
    reductions: tuple[Operation, ...]
    finish: tuple[Action, ...]

    @property
    def _steady(self) -> int:
        """The number of iterations with one forward and one backward pass."""
        return self.schedule.microbatches - self.schedule.warmup

    def complete(self) -> Program:
        return (*self.begin(), *self.end(0))

    def begin(self) -> Iterator[Action]:
        """The warm-up, and the first input of the iterations after it."""
        warmup = self.schedule.warmup
        for microbatch in range(warmup):
            yield from self._receive_forward(microbatch)
            yield self._forward(microbatch)
            yield from _calls("send_forward", self.neighbours.after, sends=_f(microbatch))
        if self._steady > 0:
            yield from self._receive_forward(warmup)

    def iterations(self, numbers: range) -> Iterator[Action]:
        """Iterations after the warm-up: a forward pass, and a backward pass `warmup` behind."""
        for number in numbers:
            ahead = number + self.schedule.warmup
            yield self._forward(ahead)
            yield from _calls(
                "send_forward_recv_backward",
                self.neighbours.after,
                sends=_f(ahead),
                receives=_b(number),
            )
            yield self._backward(number)
            if number == self._steady - 1:
                yield from _calls("send_backward", self.neighbours.before, sends=_b(number))
            else:
                yield from _calls(
                    "send_backward_recv_forward",
                    self.neighbours.before,
                    sends=_b(number),
                    receives=_f(ahead + 1),
                )

    def end(self, done: int) -> Iterator[Action]:
        """The remaining iterations, the backward passes after them, and the optimizer."""
        yield from self.iterations(range(done, self._steady))
        for microbatch in range(self._steady, self.schedule.microbatches):
            yield from _calls("recv_backward", self.neighbours.after, receives=_b(microbatch))
            yield self._backward(microbatch)
            yield from _calls("send_backward", self.neighbours.before, sends=_b(microbatch))
        yield from self.finish

    def _receive_forward(self, microbatch: int) -> Iterator[Action]:
        return _calls("recv_forward", self.neighbours.before, receives=_f(microbatch))

    def _forward(self, microbatch: int) -> Action:
        return Action("the forward pass", self.forward, sends=_f(microbatch))

    def _backward(self, microbatch: int) -> Action:
        last = microbatch == self.schedule.microbatches - 1
        operations = (*self.backward, *self.reductions) if last else self.backward
        return Action("the backward pass", operations, sends=_b(microbatch))


def _f(microbatch: int) -> Pass:
    return Pass(PassKind.FORWARD, microbatch)


def _b(microbatch: int) -> Pass:
    return Pass(PassKind.BACKWARD, microbatch)


def _calls(
    name: str,
    one_side: tuple[PipelineNeighbour, ...],
    sends: Pass | None = None,
    receives: Pass | None = None,
) -> Iterator[Action]:
    """A call of the communicator, which visits the neighbours on one side of a rank."""
    for neighbour in one_side:
        if sends is None:
            operations = neighbour.receives
        else:
            operations = neighbour.sends if receives is None else neighbour.both
        if operations:
            yield Action(name, operations, sends=sends, receives=receives)


def _rank_steps(world: SmallWorld) -> dict[int, RankStep]:
    modules = megatron_modules(world.plan)
    return {rank: _rank_step(world, modules, rank) for rank in world.ranks}


def _rank_step(world: SmallWorld, modules: tuple[MegatronModule, ...], rank: int) -> RankStep:
    units = tuple(unit for unit in modules if rank in unit.grid.ranks)
    overlaps = world.plan.spec.train.ddp.overlap_grad_reduce
    grid = units[0].grid
    return RankStep(
        schedule=world.plan.schedule(_stage(world, grid, rank)),
        neighbours=_neighbours(world, units, rank),
        forward=forward(world, units, rank),
        backward=backward(world, units, rank),
        reductions=tuple(reductions(world, units, rank)) if overlaps else (),
        finish=finish(world, units, rank),
    )


def _neighbours(
    world: SmallWorld, units: tuple[MegatronModule, ...], rank: int
) -> PipelineNeighbours:
    if world.plan.layout is Layout.COLOCATED:
        return PipelineNeighbours(before=(), after=())
    by_module = [neighbours(world, unit.grid, rank, _bridges_of(world, unit)) for unit in units]
    return PipelineNeighbours(
        before=tuple(neighbour for one in by_module for neighbour in one.before),
        after=tuple(neighbour for one in by_module for neighbour in one.after),
    )


def _bridges_of(world: SmallWorld, unit: MegatronModule) -> tuple[BridgePlan, ...]:
    """The bridges of a module: the one of an encoder, all for the language model."""
    return world.plan.bridges if unit.bridge is None else (unit.bridge,)


def _stage(world: SmallWorld, grid: GridPlan, rank: int) -> int:
    """The stage of a rank in the pipeline over all modules."""
    stage = grid.base.coordinates(rank)[PP]
    language = world.plan.grid(world.plan.spec.language.grid)
    is_last = world.plan.layout is not Layout.COLOCATED and grid is language
    return stage + (world.plan.stages - grid.axis(PP) if is_last else 0)
