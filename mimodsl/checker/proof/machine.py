"""An abstract machine that runs the programs of ranks until all have ended or are stuck."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field

from mimodsl.checker.proof.faults import Deadlock, Fault, LoneWait, Mismatch, Wait
from mimodsl.checker.proof.program import (
    Action,
    Collective,
    Exchange,
    Message,
    Operation,
    ProcessGroup,
)

type _Key = tuple[ProcessGroup, bool, int, int]
"""The way of a message: its group, whether it is in a batch, its sender and its receiver."""


def run(programs: Mapping[int, Sequence[Action]]) -> Fault | None:
    """Run one program per rank; the first fault, or `None` if every rank reaches its end.

    Nothing is buffered: a message ends when sender and receiver are both there, a collective when
    all members are there. Programs that end here end on any transport, because a real one only lets
    ranks continue earlier. Every receiver names its sender, so the order in which ranks run does
    not matter: if the programs end in one order, they end in all.
    """
    return _Machine(programs).run()


@define(eq=False)
class _Rank:
    """The position of a rank in its operations. `open` are the messages of the current operation
    that have not met."""

    rank: int
    operations: list[tuple[Action, Operation]]
    position: int = -1
    open: list[Message] = field(factory=list[Message])

    @property
    def ended(self) -> bool:
        return self.position == len(self.operations)

    @property
    def action(self) -> Action:
        return self.operations[self.position][0]

    @property
    def operation(self) -> Operation:
        return self.operations[self.position][1]


@define(eq=False)
class _Machine:
    programs: Mapping[int, Sequence[Action]]
    ranks: dict[int, _Rank] = field(factory=dict[int, _Rank])
    ready: deque[_Rank] = field(factory=deque[_Rank])
    """Ranks that have ended an operation and can continue."""
    arrived: dict[ProcessGroup, list[_Rank]] = field(factory=dict[ProcessGroup, list[_Rank]])
    """Ranks that wait in a collective, or for a group to connect."""
    posted: dict[_Key, deque[_Rank]] = field(factory=dict["_Key", deque[_Rank]])
    """Ranks whose message waits for its other end; only one end of a key ever waits."""
    connected: set[ProcessGroup] = field(factory=set[ProcessGroup])

    def run(self) -> Fault | None:
        for rank, program in self.programs.items():
            operations = [
                (action, operation) for action in program for operation in action.operations
            ]
            self.ranks[rank] = _Rank(rank, operations)
        self.ready.extend(self.ranks.values())
        while self.ready:
            rank = self.ready.popleft()
            rank.position += 1
            if not rank.ended:
                fault = self._enter(rank)
                if fault is not None:
                    return fault
        return self._stuck()

    def _enter(self, rank: _Rank) -> Fault | None:
        operation = rank.operation
        if isinstance(operation, Collective):
            return self._arrive(rank, operation.group)
        if operation.batched and operation.group not in self.connected:
            return self._arrive(rank, operation.group)
        return self._post(rank, operation)

    def _arrive(self, rank: _Rank, group: ProcessGroup) -> Fault | None:
        arrived = self.arrived.setdefault(group, [])
        arrived.append(rank)
        if len(arrived) < len(group.members):
            return None
        del self.arrived[group]
        self.connected.add(group)
        exchanging = [
            (other, other.operation) for other in arrived if isinstance(other.operation, Exchange)
        ]
        if not exchanging:
            self.ready.extend(arrived)
            return _mismatch(arrived)
        if len(exchanging) < len(arrived):
            in_collective = next(one for one in arrived if isinstance(one.operation, Collective))
            return _mismatch([exchanging[0][0], in_collective], always=True)
        faults = [self._post(other, exchange) for other, exchange in exchanging]
        return next((fault for fault in faults if fault is not None), None)

    def _post(self, rank: _Rank, exchange: Exchange) -> Fault | None:
        rank.open = list(exchange.messages)
        for message in exchange.messages:
            ends = (rank.rank, message.peer) if message.sends else (message.peer, rank.rank)
            key = (exchange.group, exchange.batched, *ends)
            waiting = self.posted.get(key)
            if waiting and Message(rank.rank, not message.sends) in waiting[0].open:
                other = waiting.popleft()
                fault = self._meet(rank, other, message)
                if fault is not None:
                    return fault
            else:
                self.posted.setdefault(key, deque()).append(rank)
        if not rank.open:
            self.ready.append(rank)
        return None

    def _meet(self, rank: _Rank, other: _Rank, message: Message) -> Fault | None:
        sender, receiver = (rank, other) if message.sends else (other, rank)
        if sender.action.sends != receiver.action.receives:
            return _mismatch([sender, receiver], always=True)
        rank.open.remove(message)
        other.open.remove(Message(rank.rank, not message.sends))
        if not other.open:
            self.ready.append(other)
        return None

    def _stuck(self) -> Fault | None:
        """The fault of the ranks that have not ended: a circle of waits, or a lone wait."""
        first = next((rank for rank in self.ranks.values() if not rank.ended), None)
        if first is None:
            return None
        path: list[_Rank] = []
        while first not in path:
            path.append(first)
            wait = self._wait(first)
            first = self.ranks[wait.partner]
            if first.ended:
                return LoneWait(wait=wait)
        return Deadlock(circle=tuple(map(self._wait, path[path.index(first) :])))

    def _wait(self, rank: _Rank) -> Wait:
        return Wait(
            rank=rank.rank,
            action=rank.action,
            operation=rank.operation,
            partner=next(iter(self._partners(rank))),
        )

    def _partners(self, rank: _Rank) -> Iterable[int]:
        """The ranks that a rank waits for; ranks that have ended come first."""
        if rank.open:
            missing = [message.peer for message in rank.open]
        else:
            group = rank.operation.group
            arrived = {other.rank for other in self.arrived[group]}
            missing = [member for member in group.members if member not in arrived]
        return sorted(missing, key=lambda peer: not self.ranks[peer].ended)


def _mismatch(ranks: Sequence[_Rank], *, always: bool = False) -> Mismatch | None:
    """Two of the ranks that have met, if their meanings differ."""
    first = ranks[0]
    meaning = (first.action.meaning, first.operation)
    for other in ranks[1:]:
        if always or (other.action.meaning, other.operation) != meaning:
            return Mismatch(
                ranks=(first.rank, other.rank),
                actions=(first.action, other.action),
                operations=(first.operation, other.operation),
            )
    return None
