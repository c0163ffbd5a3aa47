"""What a rank does in a step, as far as other ranks have a part in it: messages and collectives."""

from attrs import frozen

from mimodsl.planner.schedule import Pass


@frozen(kw_only=True, eq=False)
class Group:
    """One process group. Its `members` are those ranks of it that have a program.

    Two groups are the same only where they are the same object: as with communicators, what counts
    is not who is in it.
    """

    name: str
    members: tuple[int, ...]


@frozen
class Message:
    """A tensor, or its shape, to or from a peer."""

    peer: int
    sends: bool


@frozen
class Exchange:
    """Messages of which none waits for another, over one group; it ends when all have met.

    A `batched` one is a `batch_isend_irecv`. The first of a group connects all of its members, as a
    collective does; messages outside of a batch connect their two ranks (torch ProcessGroupNCCL).
    """

    group: Group
    messages: tuple[Message, ...]
    batched: bool = True


@frozen
class Collective:
    """A call that ends when every member of the group has come to it.

    It is `of` something where a communicator carries several things one after the other: then all
    members must have come to the same.
    """

    group: Group
    of: str = ""


type Operation = Exchange | Collective


@frozen
class Action:
    """One call of a rank's schedule: operations, one after the other.

    What is sent belongs to the pass `sends` and what is received to `receives`; a pass through the
    model and the step's end have a name alone. Two ranks that meet must mean the same.
    """

    name: str
    operations: tuple[Operation, ...]
    sends: Pass | None = None
    receives: Pass | None = None

    @property
    def meaning(self) -> tuple[object, ...]:
        return self.name, self.sends, self.receives

    def __str__(self) -> str:
        passes = ", ".join(str(one) for one in (self.sends, self.receives) if one is not None)
        return f"{self.name} of {passes}" if passes else self.name


type Program = tuple[Action, ...]
