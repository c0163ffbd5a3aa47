"""The schedule: how microbatches pass through the pipeline, and how large they are."""

from mimodsl.ir.node import AT_LEAST_1, Keyword, Node, knob, node


class ScheduleKind(Keyword):
    """The order of forward and backward passes."""

    ONE_F_ONE_B = "1f1b"
    NO_PIPELINING = "no_pipelining"


@node
class Schedule(Node):
    """The schedule and the batch."""

    kind: ScheduleKind = knob(doc="`1f1b` or `no_pipelining`")
    sequence: int = knob(check=AT_LEAST_1, unit="tokens", doc="tokens a sample")
    micro_batch: int = knob(
        default=1,
        check=AT_LEAST_1,
        unit="samples",
        doc="samples a microbatch, for each data-parallel rank of the language model",
    )
    microbatches: int = knob(default=1, check=AT_LEAST_1, doc="microbatches a step")
