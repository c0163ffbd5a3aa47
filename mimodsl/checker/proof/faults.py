"""What can keep ranks from ending a step, or from making the same groups: data, worded late."""

from attrs import frozen

from mimodsl.checker.proof.program import Action, Collective, Operation


@frozen(kw_only=True)
class Wait:
    """Where a rank stands for ever: in an operation of an action, until `partner` comes to it."""

    rank: int
    action: Action
    operation: Operation
    partner: int

    def __str__(self) -> str:
        return f"rank {self.rank} in {self.action}, {self._what} with rank {self.partner}"

    @property
    def _what(self) -> str:
        name = self.operation.group.name
        if isinstance(self.operation, Collective):
            return f"a collective over {name}"
        return f"a message over {name}"


@frozen(kw_only=True)
class Deadlock:
    """Ranks that wait in a circle, each for the next one and the last for the first."""

    circle: tuple[Wait, ...]


@frozen(kw_only=True)
class Unmet:
    """A rank that waits for one that has ended its step."""

    wait: Wait


@frozen(kw_only=True)
class Crossed:
    """Two ranks that meet and mean different things."""

    ranks: tuple[int, int]
    actions: tuple[Action, Action]
    operations: tuple[Operation, Operation]

    def __str__(self) -> str:
        of = [one.of for one in self.operations if isinstance(one, Collective) and one.of]
        return ": ".join((f"over {self.operations[0].group.name}", *(of and [" and ".join(of)])))


@frozen
class Step:
    """A call while the model is built in which ranks wait for each other.

    `members` make a group of theirs; without any, all ranks take part.
    """

    name: str
    members: tuple[int, ...] | None = None


@frozen(kw_only=True)
class Parting:
    """Two ranks of which the first waits for the second in a step that this one does not come to.

    `None` is the end of a rank's steps; `position` counts those that the first has gone through.
    """

    ranks: tuple[int, int]
    steps: tuple[Step | None, Step | None]
    position: int


type Fault = Deadlock | Unmet | Crossed | Parting
