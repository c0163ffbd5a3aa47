"""An abstract machine: it runs the programs of some ranks until all have ended or one is stuck."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field

from mimodsl.checker.proof.faults import Crossed, Deadlock, Fault, Unmet, Wait
from mimodsl.checker.proof.program import Action, Collective, Exchange, Group, Message, Operation

type _Key = tuple[Group, bool, int, int]
"""Where a message goes: over a group, in a batch or not, from one rank to another."""


def run(programs: Mapping[int, Sequence[Action]]) -> Fault | None:
    """Run one program a rank; the first fault, or `None` where every rank comes to its end.

    Nothing is buffered: a message ends when sender and receiver are both there, a collective when
    all members are. What ends so ends on any transport, which can only let ranks go on earlier.
    And as no receiver takes a message from just anyone, the order in which ranks run is of no
    account: if one order ends, all do.
    """
    return _Machine(programs).run()


@define(eq=False)
class _Rank:
    """How far a rank has come in its operations: `open` are the messages of the one it is in that
    have not met."""

    rank: int
    operations: list[tuple[Action, Operation]]
    position: int = -1
    open: list[Message] = field(factory=list[Message])

    @property
    def ended(self) -> bool:
        return self.position == len(self.operations)

    @property
    def current(self) -> Action:
        return self.operations[self.position][0]

    @property
    def at(self) -> Operation:
        return self.operations[self.position][1]


@define(eq=False)
class _Machine:
    programs: Mapping[int, Sequence[Action]]
    ranks: dict[int, _Rank] = field(factory=dict[int, _Rank])
    ready: deque[_Rank] = field(factory=deque[_Rank])
    """Ranks that have ended an operation and go on."""
    arrived: dict[Group, list[_Rank]] = field(factory=dict[Group, list[_Rank]])
    """Who waits in a collective, or for a group to connect."""
    posted: dict[_Key, deque[_Rank]] = field(factory=dict["_Key", deque[_Rank]])
    """Whose message waits for its other end; only one end of a key ever waits."""
    connected: set[Group] = field(factory=set[Group])

    def run(self) -> Fault | None:
        for rank, program in self.programs.items():
            operations = [(action, one) for action in program for one in action.operations]
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
        operation = rank.at
        if isinstance(operation, Collective):
            return self._arrive(rank, operation.group)
        if operation.batched and operation.group not in self.connected:
            return self._arrive(rank, operation.group)
        return self._post(rank, operation)

    def _arrive(self, rank: _Rank, group: Group) -> Fault | None:
        there = self.arrived.setdefault(group, [])
        there.append(rank)
        if len(there) < len(group.members):
            return None
        del self.arrived[group]
        self.connected.add(group)
        exchanges = [one for one in there if isinstance(one.at, Exchange)]
        if not exchanges:
            self.ready.extend(there)
            return _crossed(there)
        if len(exchanges) < len(there):
            calls = next(one for one in there if one not in exchanges)
            return _crossed([exchanges[0], calls], always=True)
        faults = [self._post(one, one.at) for one in exchanges if isinstance(one.at, Exchange)]
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
        if sender.current.sends != receiver.current.receives:
            return _crossed([sender, receiver], always=True)
        rank.open.remove(message)
        other.open.remove(Message(rank.rank, not message.sends))
        if not other.open:
            self.ready.append(other)
        return None

    def _stuck(self) -> Fault | None:
        """The fault of whoever has not ended: a circle of waits, or a wait that leads nowhere."""
        first = next((rank for rank in self.ranks.values() if not rank.ended), None)
        if first is None:
            return None
        path: list[_Rank] = []
        while first not in path:
            path.append(first)
            wait = self._wait(first)
            first = self.ranks[wait.partner]
            if first.ended:
                return Unmet(wait=wait)
        return Deadlock(circle=tuple(map(self._wait, path[path.index(first) :])))

    def _wait(self, rank: _Rank) -> Wait:
        return Wait(
            rank=rank.rank,
            action=rank.current,
            operation=rank.at,
            partner=next(iter(self._partners(rank))),
        )

    def _partners(self, rank: _Rank) -> Iterable[int]:
        """The ranks without which a rank does not go on; those that have ended come first."""
        if rank.open:
            missing = [message.peer for message in rank.open]
        else:
            group = rank.at.group
            there = {one.rank for one in self.arrived[group]}
            missing = [member for member in group.members if member not in there]
        return sorted(missing, key=lambda peer: not self.ranks[peer].ended)


def _crossed(met: Sequence[_Rank], *, always: bool = False) -> Crossed | None:
    """Two of the ranks that have met and do not mean the same, if there are any."""
    first = met[0]
    for other in met[1:]:
        if always or (other.current.meaning, other.at) != (first.current.meaning, first.at):
            return Crossed(
                ranks=(first.rank, other.rank),
                actions=(first.current, other.current),
                operations=(first.at, other.at),
            )
    return None
