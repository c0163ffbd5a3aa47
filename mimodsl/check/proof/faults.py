"""What can keep ranks from ending a step, or from making the same groups: data, worded late."""

from attrs import frozen

from mimodsl.check.proof.program import Action, Collective, Exchange, Operation


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
    operation: Exchange | Collective


@frozen
class Step:
    """A call while the model is built that involves the whole world, or what follows from it.

    `groups` identifies what is made, whatever it is called; it is empty where ranks only wait for
    each other.
    """

    name: str
    groups: frozenset[object] = frozenset()


@frozen(kw_only=True)
class Parting:
    """The first step in which two ranks part; `None` is the end of a rank's steps."""

    ranks: tuple[int, int]
    steps: tuple[Step | None, Step | None]
    position: int


type Fault = Deadlock | Unmet | Crossed | Parting
