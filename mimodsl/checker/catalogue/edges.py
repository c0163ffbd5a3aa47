"""What megatron-core does at the bridges between modules: side by side, and on shared ranks."""

from typing import Final

from mimodsl.checker.catalogue.fact import Area, Fact, Handled, ruled
from mimodsl.checker.rule import Cost

_HANDLED: Final = "tests/unit/builder/test_handled.py"
_PLAN: Final = "tests/property/test_plan_megatron.py"

BESIDE: Final = Area(
    title="Bridges between grids side by side",
    facts=(
        Fact(
            at=(
                "pipeline_parallel/bridge_communicator.py:107",
                "pipeline_parallel/bridge_communicator.py:113",
            ),
            cost=Cost.RAISES,
            says="cp is 1 at both ends.",
            ends=ruled("MIMO621"),
        ),
        Fact(
            at=(
                "pipeline_parallel/bridge_communicator.py:223",
                "pipeline_parallel/bridge_communicator.py:256-257",
            ),
            cost=Cost.LATE,
            says="The base views have axes called tp, cp, dp and pp.",
            ends=Handled(
                "a grid that is built has all four, those left out with size 1 (others: MIMO303)",
                f"{_PLAN}::test_groups_along_axes_are_those_of_a_grid",
            ),
        ),
        Fact(
            at=("pipeline_parallel/bridge_communicator.py:301",),
            cost=Cost.RAISES,
            says="The dp sizes of the two ends divide one way.",
            ends=ruled("MIMO623"),
        ),
        Fact(
            at=(
                "pipeline_parallel/bridge_communicator.py:301",
                "pipeline_parallel/bridge_communicator.py:1020",
            ),
            cost=Cost.LATE,
            says="The samples of a microbatch divide over the encoder's replicas.",
            ends=ruled("MIMO624"),
        ),
        Fact(
            at=(
                "pipeline_parallel/bridge_communicator.py:102",
                "pipeline_parallel/multimodule_communicator.py:182",
            ),
            cost=Cost.LATE,
            says="A module of which nothing is said sends three dimensions; encoders send two.",
            ends=Handled(
                "two are said of every encoder",
                f"{_HANDLED}::test_encoders_send_two_dimensions",
            ),
        ),
        Fact(
            at=("pipeline_parallel/bridge_communicator.py:123-130",),
            cost=Cost.SILENT,
            says="The dimensions s, b and h are given by number, and may be given one number.",
            ends=Handled(
                "they are 0, 1 and 2",
                f"{_HANDLED}::test_encoders_send_two_dimensions",
            ),
        ),
        Fact(
            at=(
                "pipeline_parallel/multimodule_communicator.py:179",
                "pipeline_parallel/bridge_communicator.py:418",
                "model_parallel_config.py:527-529",
            ),
            cost=Cost.LATE,
            says="Whatever the encoder sent, a bridge receives it in the language model's pipeline "
            "precision, fp32 where none is given.",
            ends=Handled(
                "every module has one precision, for weights, pipelines and what encoders emit",
                f"{_HANDLED}::test_messages_have_the_precision_of_what_is_sent",
            ),
        ),
        Fact(
            at=("transformer/transformer_config.py:1303-1312",),
            cost=Cost.LATE,
            says="An fp32 residual stream changes that precision behind the back of the bridge.",
            ends=ruled("MIMO625"),
        ),
        Fact(
            at=("transformer/module.py:516-519",),
            cost=Cost.LATE,
            says="A module wrapped for half precision emits fp32 unless told not to.",
            ends=Handled(
                "nothing is wrapped: modules are built in their precision",
                f"{_HANDLED}::test_messages_have_the_precision_of_what_is_sent",
            ),
        ),
        Fact(
            at=(
                "pipeline_parallel/multimodule_communicator.py:173",
                "pipeline_parallel/multimodule_communicator.py:541",
                "pipeline_parallel/multimodule_communicator.py:574",
            ),
            cost=Cost.RAISES,
            says="The topology lists every module, has no cycle, and ends somewhere.",
            ends=Handled(
                "every encoder leads to the language model and nothing else does",
                f"{_HANDLED}::test_modules_reach_megatron_under_their_names",
            ),
        ),
        Fact(
            at=(
                "pipeline_parallel/multimodule_communicator.py:393",
                "models/mimo/model/base.py:498",
                "models/mimo/model/base.py:737",
            ),
            cost=Cost.SILENT,
            says="Of several edges out of a module, the last one's gradients count; what an "
            "encoder sends to another is never read; the language model sends nowhere.",
            ends=ruled("MIMO601", "MIMO602"),
        ),
        Fact(
            at=("pipeline_parallel/bridge_communicator.py:212",),
            cost=Cost.SILENT,
            says="Leaders are found by walking over the axes in the order of the base view.",
            ends=Handled(
                "plan and bridges agree on leaders for grids of any order",
                f"{_PLAN}::test_bridges_connect_the_same_leaders",
            ),
        ),
    ),
)

TOGETHER: Final = Area(
    title="Bridges on shared ranks",
    facts=(
        Fact(
            at=(
                "models/mimo/comm/colocated_communicator.py:119",
                "models/mimo/comm/colocated_communicator.py:125",
            ),
            cost=Cost.RAISES,
            says="Both grids have one size and offset.",
            ends=ruled("MIMO403"),
        ),
        Fact(
            at=("models/mimo/comm/colocated_communicator.py:135",),
            cost=Cost.RAISES,
            says="Both grids name tp and dp.",
            ends=Handled(
                "a grid that is built has them, those left out with size 1",
                f"{_HANDLED}::test_every_encoder_on_shared_ranks_has_a_bridge",
            ),
        ),
        Fact(
            at=("models/mimo/model/base.py:744-751",),
            cost=Cost.SILENT,
            says="Where any grid does not name them, there is no bridge at all.",
            ends=Handled(
                "every encoder has its bridge",
                f"{_HANDLED}::test_every_encoder_on_shared_ranks_has_a_bridge",
            ),
        ),
        Fact(
            at=("models/mimo/comm/colocated_communicator.py:143",),
            cost=Cost.RAISES,
            says="pp and cp are 1 on both grids.",
            ends=ruled("MIMO621", "MIMO622"),
        ),
        Fact(
            at=("models/mimo/comm/colocated_communicator.py:151",),
            cost=Cost.RAISES,
            says="The dp sizes divide one way.",
            ends=ruled("MIMO623"),
        ),
        Fact(
            at=("models/mimo/comm/colocated_communicator.py:230",),
            cost=Cost.LATE,
            says="What is gathered or cut divides by the ratio of the dp sizes.",
            ends=ruled("MIMO624"),
        ),
        Fact(
            at=("models/mimo/comm/colocated_communicator.py:222-227",),
            cost=Cost.SILENT,
            says="A batch is cut by tokens, which are samples only where each has as many.",
            ends=Handled(
                "a microbatch that a bridge would cut elsewhere is refused",
                "tests/unit/builder/test_images.py::test_a_bridge_refuses",
            ),
        ),
    ),
)
