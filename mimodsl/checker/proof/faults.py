"""Faults that the proof can find, as data. `fault_rules` puts them into words."""

from attrs import frozen

from mimodsl.checker.proof.program import Action, Collective, Operation


@frozen(kw_only=True, eq=False)
class Wait:
    """A rank that waits forever, in an operation of an action, for `partner`."""

    rank: int
    action: Action
    operation: Operation
    partner: int

    def __str__(self) -> str:
        return f"rank {self.rank} in {self.action}, {self._operation} with rank {self.partner}"

    @property
    def _operation(self) -> str:
        name = self.operation.group.name
        if isinstance(self.operation, Collective):
            return f"a collective over {name}"
        return f"a message over {name}"


@frozen(kw_only=True, eq=False)
class Deadlock:
    """Ranks that wait in a circle: each for the next one, and the last for the first."""

    circle: tuple[Wait, ...]


@frozen(kw_only=True, eq=False)
class LoneWait:
    """A rank that waits for a rank that has ended its step."""

    wait: Wait


@frozen(kw_only=True, eq=False)
class Mismatch:
    """Two ranks that meet in an operation, but for different purposes."""

    ranks: tuple[int, int]
    actions: tuple[Action, Action]
    operations: tuple[Operation, Operation]

    def __str__(self) -> str:
        collectives = (one for one in self.operations if isinstance(one, Collective))
        purposes = [collective.purpose for collective in collectives if collective.purpose]
        group = f"over {self.operations[0].group.name}"
        return f"{group}: {' and '.join(purposes)}" if purposes else group


@frozen
class BuildCall:
    """A call during construction in which ranks wait for each other.

    Its `members` make a process group together; `None` means that all ranks take part.
    """

    name: str
    members: tuple[int, ...] | None = None


@frozen(kw_only=True)
class MissedCall:
    """A call in which the first rank waits for the second, which does not make this call.

    `calls` are the current calls of both ranks; `None` means that a rank has no call left.
    `position` is the number of calls that the first rank has finished.
    """

    ranks: tuple[int, int]
    calls: tuple[BuildCall | None, BuildCall | None]
    position: int


type Fault = Deadlock | LoneWait | Mismatch | MissedCall
