"""What megatron-core demands of whoever builds with it, and no spec has a part in."""

from typing import Final

from mimodsl.checker.catalogue.fact import Area, Fact, Handled, Impossible
from mimodsl.checker.rule import Cost

_OFF: Final = "tests/unit/builder/test_handled.py::test_what_the_language_cannot_ask_for_is_off"
_ROLES: Final = "tests/unit/planner/test_roles.py"
_TRAINS: Final = "tests/e2e/test_matrix.py::test_a_layout_trains_as_one_rank"
_LEARNS: Final = "tests/unit/builder/test_language.py::test_every_parameter_learns"
_EVERY_FIELD: Final = (
    "tests/e2e/test_matrix_grids.py::test_collections_have_every_field_set_on_every_rank"
)

HANDED: Final = Area(
    title="What the builder hands over",
    facts=(
        Fact(
            at=(
                "process_groups_config.py:430-530",
                "process_groups_config.py:623-680",
                "distributed/finalize_model_grads.py:578-600",
            ),
            cost=Cost.RAISES,
            says="DDP, the optimizer and the finaliser each insist on groups of their own.",
            ends=Handled("they get a collection in which every field is set", _EVERY_FIELD),
        ),
        Fact(
            at=(
                "transformer/attention.py:328-345",
                "transformer/dot_product_attention.py:71-73",
                "models/hybrid/hybrid_block.py:105-116",
                "models/vision/multimodal_projector.py:43",
                "tensor_parallel/layers.py:1317",
            ),
            cost=Cost.RAISES,
            says="Layers insist on groups, on their parts, and on the layers of a stage.",
            ends=Handled("they are handed all of it", _TRAINS),
        ),
        Fact(
            at=("transformer/attention.py:1704-1719",),
            cost=Cost.RAISES,
            says="Norms of queries and keys are in the layer spec exactly where the config asks.",
            ends=Handled("both follow from `qk_norm`", _LEARNS),
        ),
        Fact(
            at=("transformer/torch_norm.py:44-67", "tensor_parallel/layers.py:1083"),
            cost=Cost.RAISES,
            says="Norms outside Transformer Engine have few of its options.",
            ends=Handled(
                "the local norms are other ones",
                "tests/unit/builder/test_layer_specs.py::"
                "test_a_norms_weights_say_whether_the_sequence_is_split",
            ),
        ),
        Fact(
            at=(
                "transformer/moe/moe_layer.py:183-195",
                "transformer/moe/token_dispatcher.py:407-417",
                "transformer/moe/token_dispatcher.py:445",
            ),
            cost=Cost.RAISES,
            says="The experts of a rank are numbered without gaps by its ep rank.",
            ends=Handled(
                "plan and layers deal them in the same way",
                f"{_ROLES}::test_experts_are_dealt_along_ep",
            ),
        ),
        Fact(
            at=(
                "transformer/moe/moe_layer.py:266",
                "transformer/moe/moe_layer.py:350-375",
                "transformer/moe/experts.py:286-305",
                "transformer/moe/token_dispatcher.py:1788",
            ),
            cost=Cost.RAISES,
            says="Latent, fused and quantised experts, and those for inference, need packages.",
            ends=Impossible("there is no word for them", _OFF),
        ),
        Fact(
            at=("transformer/moe/moe_layer.py:321",),
            cost=Cost.RAISES,
            says="A dispatcher is allgather, alltoall or flex.",
            ends=Impossible(
                "these are the choices",
                "tests/unit/lower/test_fields.py::test_a_field_that_is_refused",
            ),
        ),
        Fact(
            at=(
                "models/hybrid/hybrid_model.py:163-176",
                "models/hybrid/hybrid_model.py:291",
                "models/hybrid/hybrid_block.py:204",
                "transformer/transformer_block.py:169-195",
                "models/gpt/gpt_model.py:219",
                "transformer/dot_product_attention.py:140",
                "models/common/embeddings/language_model_embedding.py:123-128",
            ),
            cost=Cost.RAISES,
            says="Patterns by ratio, predicted tokens, virtual stages, positions in several "
            "dimensions, other softmaxes and token types have rules of their own.",
            ends=Impossible("there is no word for them", _OFF),
        ),
        Fact(
            at=(
                "pipeline_parallel/schedules.py:719-732",
                "pipeline_parallel/schedules.py:2148-2150",
                "pipeline_parallel/schedules.py:2178",
                "pipeline_parallel/schedules.py:2194-2195",
                "pipeline_parallel/multimodule_communicator.py:271",
                "pipeline_parallel/multimodule_communicator.py:541-545",
            ),
            cost=Cost.LATE,
            says="Schedules take one model, one iterator and a collection with tp and cp.",
            ends=Handled("that is what they are given", _TRAINS),
        ),
        Fact(
            at=(
                "models/mimo/model/base.py:167",
                "models/mimo/model/base.py:477-479",
                "models/mimo/model/base.py:571-575",
                "models/mimo/submodules/base.py:206",
                "models/mimo/submodules/base.py:320",
                "models/mimo/partition/utils.py:67",
            ),
            cost=Cost.LATE,
            says="A MimoModel runs what its rank's role says, with inputs or hidden states.",
            ends=Handled("each rank gives it what its role needs", _TRAINS),
        ),
        Fact(
            at=("models/mimo/partition/utils.py:143-147",),
            cost=Cost.LATE,
            says="Overlapped tensor-parallel communication wants sequences of full length.",
            ends=Impossible("there is no word for it", _OFF),
        ),
        Fact(
            at=(
                "distributed/distributed_data_parallel.py:153-165",
                "distributed/distributed_data_parallel.py:230-243",
                "distributed/distributed_data_parallel.py:292-295",
            ),
            cost=Cost.RAISES,
            says="DDP checks layouts and scaling factors that it was given or worked out.",
            ends=Handled(
                "it works out its own",
                "tests/unit/builder/test_handled.py::test_ddp_sums_and_has_one_optimizer_instance",
            ),
        ),
        Fact(
            at=("models/vision/radio.py:337",),
            cost=Cost.LATE,
            says="RADIO needs einops.",
            ends=Handled(
                "the extra `build` has it",
                "tests/unit/test_packaging.py::test_the_wheel_names_its_extras_and_its_command",
            ),
        ),
    ),
)
