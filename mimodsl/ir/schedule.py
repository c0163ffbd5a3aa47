"""The schedule: how microbatches pass through the pipeline, and how large they are."""

from mimodsl.ir.facts import LAYOUT, TRAINING, Derived, Facts, unnamed
from mimodsl.ir.node import AT_LEAST_1, Keyword, Node, knob, node


class ScheduleKind(Keyword):
    """The order of forward and backward passes."""

    ONE_F_ONE_B = "1f1b"
    NO_PIPELINING = "no_pipelining"


@node
class Schedule(Node):
    """The schedule and the batch."""

    kind: ScheduleKind = knob(
        doc="`1f1b` or `no_pipelining`",
        facts=unnamed(LAYOUT),
    )
    sequence: int = knob(
        check=AT_LEAST_1,
        unit="tokens",
        doc="tokens a sample",
        facts=Facts(
            TRAINING,
            megatron=None,
            flag="seq-length",
            hf=None,
            also="seq_len max_seq_len sequence_length",
        ),
    )
    micro_batch: int = knob(
        default=1,
        check=AT_LEAST_1,
        unit="samples",
        doc="samples a microbatch, for each data-parallel rank of the language model",
        facts=Facts(LAYOUT, megatron=None, flag="micro-batch-size", hf=None, also="mbs"),
    )
    microbatches: int = knob(
        default=1,
        check=AT_LEAST_1,
        doc="microbatches a step",
        facts=Facts(
            LAYOUT,
            megatron=None,
            flag=Derived("global-batch-size"),
            hf=None,
            also="num_microbatches gradient_accumulation_steps",
        ),
    )
