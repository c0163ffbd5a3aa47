"""The programs of a step: every pass of the schedule with the calls around it, on a few ranks."""

from collections.abc import Iterator

from attrs import frozen

from mimodsl.checker.proof.communication import Link, Links, links
from mimodsl.checker.proof.cut import Cut
from mimodsl.checker.proof.faults import Fault
from mimodsl.checker.proof.machine import run
from mimodsl.checker.proof.passes import Part, backward, finish, forward, parts, reductions
from mimodsl.checker.proof.program import Action, Operation, Program
from mimodsl.planner.bridges import BridgePlan
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.plan import Layout
from mimodsl.planner.schedule import Pass, PassKind, StageSchedule

type Programs = dict[int, Program]


def prove_step(cut: Cut) -> Fault | None:
    """The first fault of a step, or `None` where every rank comes to its end.

    With at least as many microbatches as stages, a step is a beginning, iterations that are alike,
    and an end. Each is run on its own, from nothing under way to nothing under way. If all of them
    end, so does any number of iterations between the two.
    """
    for part in step(cut):
        fault = run(part)
        if fault is not None:
            return fault
    return None


def programs(cut: Cut) -> Programs:
    """A whole step's programs, by rank, however long they are."""
    return {rank: one.whole() for rank, one in _ranks(cut).items()}


def step(cut: Cut) -> Iterator[Programs]:
    """A step's programs, by rank: all of it, or its beginning, one iteration, and its end."""
    ranks = _ranks(cut)
    microbatches, stages = cut.plan.spec.schedule.microbatches, cut.plan.stages
    alike = microbatches - stages
    if alike < 1:
        yield {rank: one.whole() for rank, one in ranks.items()}
        return
    yield {rank: tuple(one.begin()) for rank, one in ranks.items()}
    yield {rank: tuple(one.iterations(range(1))) for rank, one in ranks.items()}
    yield {rank: tuple(one.end(alike)) for rank, one in ranks.items()}


@frozen(kw_only=True)
class RankStep:
    """One rank's step (pipeline_parallel/schedules.py forward_backward_pipelining_without_...).

    Its calls by name, as of the communicator, and the collectives of its passes.
    """

    schedule: StageSchedule
    links: Links
    forward: tuple[Operation, ...]
    backward: tuple[Operation, ...]
    reductions: tuple[Operation, ...]
    finish: tuple[Action, ...]

    @property
    def _steady(self) -> int:
        """Iterations of one forward and one backward pass."""
        return self.schedule.microbatches - self.schedule.warmup

    def whole(self) -> Program:
        return (*self.begin(), *self.end(0))

    def begin(self) -> Iterator[Action]:
        """Warm-up, and the first input of the iterations after it."""
        warmup = self.schedule.warmup
        for microbatch in range(warmup):
            yield from self._receive_forward(microbatch)
            yield self._forward(microbatch)
            yield from _calls("send_forward", self.links.after, sends=_f(microbatch))
        if self._steady > 0:
            yield from self._receive_forward(warmup)

    def iterations(self, which: range) -> Iterator[Action]:
        """Iterations after the warm-up: a forward pass, and a backward pass `warmup` behind."""
        for number in which:
            ahead = number + self.schedule.warmup
            yield self._forward(ahead)
            yield from _calls(
                "send_forward_recv_backward",
                self.links.after,
                sends=_f(ahead),
                receives=_b(number),
            )
            yield self._backward(number)
            if number == self._steady - 1:
                yield from _calls("send_backward", self.links.before, sends=_b(number))
            else:
                yield from _calls(
                    "send_backward_recv_forward",
                    self.links.before,
                    sends=_b(number),
                    receives=_f(ahead + 1),
                )

    def end(self, done: int) -> Iterator[Action]:
        """The iterations that are left, the backward passes after them, and the optimizer."""
        yield from self.iterations(range(done, self._steady))
        for microbatch in range(self._steady, self.schedule.microbatches):
            yield from _calls("recv_backward", self.links.after, receives=_b(microbatch))
            yield self._backward(microbatch)
            yield from _calls("send_backward", self.links.before, sends=_b(microbatch))
        yield from self.finish

    def _receive_forward(self, microbatch: int) -> Iterator[Action]:
        return _calls("recv_forward", self.links.before, receives=_f(microbatch))

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
    name: str, neighbours: tuple[Link, ...], sends: Pass | None = None, receives: Pass | None = None
) -> Iterator[Action]:
    """A call of the communicator, which goes from neighbour to neighbour."""
    for link in neighbours:
        if sends is None:
            operations = link.receives
        else:
            operations = link.sends if receives is None else link.both
        if operations:
            yield Action(name, operations, sends=sends, receives=receives)


def _ranks(cut: Cut) -> dict[int, RankStep]:
    known = parts(cut.plan)
    return {rank: _rank(cut, known, rank) for rank in cut.ranks}


def _rank(cut: Cut, known: tuple[Part, ...], rank: int) -> RankStep:
    held = tuple(part for part in known if rank in part.grid.ranks)
    overlaps = cut.plan.spec.train.ddp.overlap_grad_reduce
    grid = held[0].grid
    return RankStep(
        schedule=cut.plan.schedule(_stage(cut, grid, rank)),
        links=_links(cut, held, rank),
        forward=forward(cut, held, rank),
        backward=backward(cut, held, rank),
        reductions=tuple(reductions(cut, held, rank)) if overlaps else (),
        finish=finish(cut, held, rank),
    )


def _links(cut: Cut, held: tuple[Part, ...], rank: int) -> Links:
    if cut.plan.layout is Layout.COLOCATED:
        return Links(before=(), after=())
    found = [links(cut, one.grid, rank, _own(cut, one)) for one in held]
    return Links(
        before=tuple(link for one in found for link in one.before),
        after=tuple(link for one in found for link in one.after),
    )


def _own(cut: Cut, part: Part) -> tuple[BridgePlan, ...]:
    """The bridges that end at a part."""
    return cut.plan.bridges if part.bridge is None else (part.bridge,)


def _stage(cut: Cut, grid: GridPlan, rank: int) -> int:
    """A rank's stage in the pipeline over all modules."""
    own = grid.base.coordinates(rank)["pp"]
    language = cut.plan.grid(cut.plan.spec.language.grid)
    behind = cut.plan.layout is not Layout.COLOCATED and grid is language
    return own + (cut.plan.stages - grid.axis("pp") if behind else 0)
