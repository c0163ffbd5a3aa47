"""What megatron-core does with sizes that are cut over ranks: of layers and of sequences."""

from typing import Final

from mimodsl.checker.catalogue.fact import Area, Fact, Handled, ruled
from mimodsl.checker.rule import Cost

_CONFIGS: Final = "tests/unit/builder/test_configs.py"
_HANDLED: Final = "tests/unit/builder/test_handled.py"
_LAYERS: Final = "tests/unit/builder/test_layer_specs.py"

TENSOR_PARALLEL: Final = Area(
    title="Tensor, sequence and context parallelism",
    facts=(
        Fact(
            at=("tensor_parallel/layers.py:965", "tensor_parallel/layers.py:1328"),
            cost=Cost.RAISES,
            says="The width that a linear splits divides by tp (by etp in an expert): the inner "
            "width of an MLP, of projections and of RADIO's patch embedding.",
            ends=ruled("MIMO501", "MIMO535"),
        ),
        Fact(
            at=("tensor_parallel/layers.py:265",),
            cost=Cost.RAISES,
            says="The vocabulary divides by tp.",
            ends=ruled("MIMO501"),
        ),
        Fact(
            at=("transformer/transformer_config.py:1323",),
            cost=Cost.RAISES,
            says="Attention heads divide by tp, also in the config of a module without attention, "
            "such as a projector.",
            ends=ruled("MIMO501"),
        ),
        Fact(
            at=("transformer/transformer_config.py:1323",),
            cost=Cost.RAISES,
            says="A projector's or a Mamba model's config needs heads that divide by tp although "
            "nothing has them.",
            ends=Handled(
                "such a config says tp heads",
                f"{_CONFIGS}::test_a_pattern_without_attention_needs_no_heads",
            ),
        ),
        Fact(
            at=("transformer/transformer_config.py:1323", "transformer/transformer_config.py:2328"),
            cost=Cost.RAISES,
            says="A hybrid model's config is refused for heads or experts that no layer has.",
            ends=Handled(
                "it is given the blocks of its layers alone",
                f"{_HANDLED}::test_a_config_has_no_sizes_of_layers_that_are_not_there",
            ),
        ),
        Fact(
            at=("transformer/transformer_config.py:1338", "transformer/attention.py:364"),
            cost=Cost.RAISES,
            says="Key-value groups are a multiple or a divisor of tp.",
            ends=ruled("MIMO502"),
        ),
        Fact(
            at=("transformer/attention.py:1681",),
            cost=Cost.RAISES,
            says="Where tp ranks share groups, keys and values are still multiplied in equal "
            "parts, so their whole width divides by tp.",
            ends=ruled("MIMO502"),
        ),
        Fact(
            at=("transformer/attention.py:1867",),
            cost=Cost.LATE,
            says="Heads that do not divide into key-value groups fail in the first forward pass.",
            ends=ruled("MIMO503"),
        ),
        Fact(
            at=("transformer/transformer_config.py:1333",),
            cost=Cost.SILENT,
            says="A head is hidden // heads wide: a remainder is dropped.",
            ends=ruled("MIMO504"),
        ),
        Fact(
            at=("tensor_parallel/layers.py:1207", "models/vision/multimodal_projector.py:82"),
            cost=Cost.LATE,
            says="An affine projector gathers its output over tp but not its bias: adding the two "
            "fails.",
            ends=ruled("MIMO558"),
        ),
        Fact(
            at=("model_parallel_config.py:503",),
            cost=Cost.RAISES,
            says="Sequence parallelism needs tp above 1.",
            ends=ruled("MIMO505"),
        ),
        Fact(
            at=("transformer/torch_norm.py:50", "models/hybrid/hybrid_block.py:215"),
            cost=Cost.RAISES,
            says="The norms outside Transformer Engine refuse sequence parallelism, and the hybrid "
            "stack makes its last norm from Transformer Engine by name.",
            ends=Handled(
                "the local kernels have norms whose gradients are summed over tp",
                f"{_LAYERS}::test_a_norms_weights_say_whether_the_sequence_is_split",
            ),
        ),
        Fact(
            at=("transformer/dot_product_attention.py:57",),
            cost=Cost.RAISES,
            says="Attention outside Transformer Engine has no context parallelism.",
            ends=ruled("MIMO731"),
        ),
        Fact(
            at=("transformer/dot_product_attention.py:57",),
            cost=Cost.RAISES,
            says="With `kernels = auto`, that is so where there is no GPU or no Transformer "
            "Engine, which a check cannot know.",
            ends=Handled(
                "the build says which knob the local kernels lack, by MIMO731",
                f"{_HANDLED}::test_what_auto_cannot_have_here_is_refused_by_its_rule",
            ),
        ),
        Fact(
            at=("models/mimo/partition/utils.py:138",),
            cost=Cost.LATE,
            says="A sequence divides by tp where it is split over tp, by 2·cp, and by both.",
            ends=ruled("MIMO702"),
        ),
        Fact(
            at=("models/mimo/partition/utils.py:69-73",),
            cost=Cost.LATE,
            says="Without tp and cp groups, a MimoModel reads them from parallel_state.",
            ends=Handled(
                "they are given, and a guard makes any such read an error in every test",
                "tests/unit/runtime/test_meta.py::test_the_global_topology_is_never_read",
            ),
        ),
        Fact(
            at=("models/mimo/model/base.py:381",),
            cost=Cost.LATE,
            says="With sequence parallelism, text embeddings must not be scattered before images "
            "are put among them.",
            ends=Handled(
                "the embedding does not scatter",
                f"{_HANDLED}::test_text_embeddings_are_scattered_once",
            ),
        ),
        Fact(
            at=("models/mimo/model/base.py:652",),
            cost=Cost.LATE,
            says="Context parallelism takes no dense attention mask.",
            ends=Handled(
                "batches have none: attention is causal by its kind",
                f"{_HANDLED}::test_batches_have_no_attention_mask",
            ),
        ),
        Fact(
            at=("models/vision/radio.py:169", "pipeline_parallel/bridge_communicator.py:212"),
            cost=Cost.SILENT,
            says="One tp rank sends for all, so what an encoder emits has to be the same on each: "
            "no sequence parallelism in encoders and projectors.",
            ends=Handled(
                "it is off in their configs, whatever tp is",
                f"{_HANDLED}::test_encoders_and_projectors_keep_their_sequence_whole",
            ),
        ),
        Fact(
            at=("tensor_parallel/random.py:473-478",),
            cost=Cost.SILENT,
            says="Seeding reads tp, ep and etp ranks from parallel_state unless they are given; "
            "with the same for all, ranks of split weights and experts start alike.",
            ends=Handled(
                "each module is seeded by its own ranks",
                "tests/unit/builder/test_seeds.py::test_ranks_that_hold_different_weights_draw_apart",
            ),
        ),
        Fact(
            at=("transformer/dot_product_attention.py:189", "tensor_parallel/layers.py:570"),
            cost=Cost.LATE,
            says="Local attention and sequence-parallel linears take a buffer that only "
            "parallel_state's initialisation makes.",
            ends=Handled(
                "the buffer alone is made: it is no topology",
                "tests/unit/runtime/test_meta.py::test_the_global_topology_is_never_read",
            ),
        ),
        Fact(
            at=(
                "models/common/embeddings/rotary_pos_embedding.py:74",
                "models/common/embeddings/rope_utils.py:136",
            ),
            cost=Cost.LATE,
            says="Rotary positions of an odd part of a head turn one number more, or fail where "
            "the head has no more; of a part below one they turn none.",
            ends=ruled("MIMO506"),
        ),
        Fact(
            at=("models/common/embeddings/rope_utils.py:136",),
            cost=Cost.LATE,
            says="Rotary positions of more than a whole head fail.",
            ends=ruled("MIMO203"),
        ),
    ),
)
