"""The program of a rank in a step: its messages and collectives with other ranks."""

from attrs import frozen

from mimodsl.planner.schedule import Pass


@frozen(kw_only=True, eq=False)
class ProcessGroup:
    """A process group. Its `members` are the ranks of the group that have a program.

    Two groups are equal only if they are the same object: like two communicators, two groups can
    have the same members and still be different.
    """

    name: str
    members: tuple[int, ...]


@frozen
class Message:
    """A message with a tensor or its shape, to or from a peer."""

    peer: int
    sends: bool


@frozen
class Exchange:
    """Messages over one group that do not wait for each other; it ends when all have met.

    A `batched` exchange is a `batch_isend_irecv`. The first one of a group connects all members,
    as a collective does; a message outside a batch connects two ranks (torch ProcessGroupNCCL).
    """

    group: ProcessGroup
    messages: tuple[Message, ...]
    batched: bool = True


@frozen
class Collective:
    """A call that ends when every member of the group has made it.

    It has a `purpose` if a communicator serves several purposes one after the other: all members
    must make the call for the same purpose.
    """

    group: ProcessGroup
    purpose: str = ""


type Operation = Exchange | Collective


@frozen
class Action:
    """One call in the schedule of a rank: operations, one after the other.

    Sent data belongs to the pass `sends`, received data to the pass `receives`. A pass through the
    model and the end of the step have only a name. Two ranks that meet must have the same meaning.
    """

    name: str
    operations: tuple[Operation, ...]
    sends: Pass | None = None
    receives: Pass | None = None

    @property
    def meaning(self) -> tuple[object, ...]:
        return self.name, self.sends, self.receives

    def __str__(self) -> str:
        passes = ", ".join(str(data) for data in (self.sends, self.receives) if data is not None)
        return f"{self.name} of {passes}" if passes else self.name


type Program = tuple[Action, ...]
