"""What megatron-core does with the sizes of layers and how they fall on ranks and stages."""

from typing import Final

from mimodsl.check.catalogue.fact import Area, Fact, Handled, Impossible, ruled
from mimodsl.check.rule import Cost

_CONFIGS: Final = "tests/unit/build/test_configs.py"
_HANDLED: Final = "tests/unit/build/test_handled.py"
_LAYERS: Final = "tests/unit/build/test_layer_specs.py"
_PLAN: Final = "tests/property/test_plan_megatron.py"

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
                "tests/unit/build/test_seeds.py::test_ranks_that_hold_different_weights_draw_apart",
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

MAMBA: Final = Area(
    title="Mamba and layer patterns",
    facts=(
        Fact(
            at=("ssm/mamba_mixer.py:260", "ssm/mamba_mixer.py:268"),
            cost=Cost.RAISES,
            says="Mamba heads and groups divide by tp.",
            ends=ruled("MIMO501"),
        ),
        Fact(
            at=("ssm/mamba_mixer.py:272",),
            cost=Cost.RAISES,
            says="Mamba heads divide into groups.",
            ends=ruled("MIMO511"),
        ),
        Fact(
            at=("ssm/mamba_mixer.py:248",),
            cost=Cost.RAISES,
            says="Where heads are not given, twice the hidden width is a whole number of heads.",
            ends=ruled("MIMO512"),
        ),
        Fact(
            at=("ssm/mamba_context_parallel.py:106-129",),
            cost=Cost.RAISES,
            says="The heads of a tp rank divide by cp, its groups and cp one way.",
            ends=ruled("MIMO513"),
        ),
        Fact(
            at=("ssm/mamba_mixer.py:239-245",),
            cost=Cost.RAISES,
            says="Heads, groups and states of a mixer are above 0.",
            ends=ruled("MIMO203"),
        ),
        Fact(
            at=("ssm/mamba_mixer.py:224", "ssm/mamba_mixer.py:230-233"),
            cost=Cost.RAISES,
            says="A mixer is given its groups; states of another precision need a newer mamba-ssm.",
            ends=Handled(
                "it is given them, and states have the weights' precision",
                f"{_HANDLED}::test_what_the_language_cannot_ask_for_is_off",
            ),
        ),
        Fact(
            at=("ssm/mamba_mixer.py:252",),
            cost=Cost.RAISES,
            says="In fp8, a mixer's input projection is a multiple of 16 wide.",
            ends=Impossible(
                "there is no fp8",
                f"{_HANDLED}::test_what_the_language_cannot_ask_for_is_off",
            ),
        ),
        Fact(
            at=(
                "ssm/mamba_mixer.py:274-276",
                "ssm/mamba_mixer.py:388",
            ),
            cost=Cost.RAISES,
            says="A mixer has a bias in its convolution and none in its projections, and gates "
            "before it normalises.",
            ends=Impossible(
                "`bias` of a language model does not reach its mixers",
                "tests/e2e/test_layers_in_layouts.py::test_language_models",
            ),
        ),
        Fact(
            at=(
                "ssm/mamba_mixer.py:203-208",
                "ssm/mamba_mixer.py:416",
                "ssm/mamba_context_parallel.py:80",
            ),
            cost=Cost.RAISES,
            says="A mixer needs mamba-ssm, which needs a GPU, and einops.",
            ends=Handled(
                "elsewhere plain torch stands in for its two kernels",
                "tests/unit/test_mamba_kernels.py::test_layer_and_gradients_follow_the_recurrence",
            ),
        ),
        Fact(
            at=(
                "models/hybrid/hybrid_layer_allocation.py:291",
                "models/hybrid/hybrid_layer_allocation.py:298",
            ),
            cost=Cost.RAISES,
            says="A pattern has the symbols M G * D + - E, and no attention beside latent or "
            "sparse attention.",
            ends=ruled("MIMO521"),
        ),
        Fact(
            at=(
                "transformer/multi_token_prediction.py:635",
                "models/hybrid/hybrid_layer_allocation.py:262",
            ),
            cost=Cost.RAISES,
            says="Multi-token prediction (`/` in a pattern) reads parallel_state; its parts have "
            "to be alike.",
            ends=ruled("MIMO521"),
        ),
        Fact(
            at=("ssm/mamba_mixer.py:243", "transformer/moe/moe_layer.py:185"),
            cost=Cost.SILENT,
            says="Layers whose sizes nobody gave have sizes of megatron-core's own.",
            ends=ruled("MIMO522"),
        ),
        Fact(
            at=("models/hybrid/hybrid_layer_allocation.py:467-469",),
            cost=Cost.SILENT,
            says="Of a pattern with more segments than stages, everything behind the first pp is "
            "dropped without a word.",
            ends=ruled("MIMO524"),
        ),
        Fact(
            at=("models/hybrid/hybrid_layer_allocation.py:459",),
            cost=Cost.RAISES,
            says="The segments of a pattern divide by pp.",
            ends=ruled("MIMO524"),
        ),
        Fact(
            at=(
                "models/hybrid/hybrid_layer_allocation.py:437",
                "transformer/transformer_block.py:150",
            ),
            cost=Cost.RAISES,
            says="Layers without stage marks divide by pp.",
            ends=ruled("MIMO525"),
        ),
        Fact(
            at=("transformer/transformer_config.py:2789",),
            cost=Cost.RAISES,
            says="A pipeline has at least one stage.",
            ends=ruled("MIMO203"),
        ),
        Fact(
            at=("models/hybrid/hybrid_layer_allocation.py:478",),
            cost=Cost.WASTE,
            says="A segment may be empty: its stage has no layers.",
            ends=ruled("MIMO526"),
        ),
        Fact(
            at=(
                "models/hybrid/hybrid_layer_allocation.py:377",
                "models/hybrid/hybrid_layer_allocation.py:387",
            ),
            cost=Cost.RAISES,
            says="Stage marks go neither with layer counts of the first or last stage, nor, left "
            "out, with virtual stages.",
            ends=Impossible(
                "there is no word for such counts, nor for virtual stages",
                f"{_HANDLED}::test_what_the_language_cannot_ask_for_is_off",
            ),
        ),
        Fact(
            at=("models/hybrid/hybrid_layer_allocation.py:405-425",),
            cost=Cost.SILENT,
            says="With two stages, counts of the first and the last that do not add up drop "
            "layers, or run some twice.",
            ends=Impossible(
                "there is no word for such counts",
                f"{_HANDLED}::test_what_the_language_cannot_ask_for_is_off",
            ),
        ),
        Fact(
            at=("transformer/moe/router.py:587",),
            cost=Cost.SILENT,
            says="Nothing compares num_layers with the pattern; the losses of experts are kept "
            "by layer in a table of that length.",
            ends=Handled(
                "it is counted from the pattern",
                f"{_HANDLED}::test_layers_are_counted_from_the_pattern",
            ),
        ),
        Fact(
            at=("pipeline_parallel/multimodule_communicator.py:76",),
            cost=Cost.LATE,
            says="Stages do not pass tensors whose last dimension is 1 on.",
            ends=ruled("MIMO528"),
        ),
        Fact(
            at=(
                "models/common/language_module/language_module.py:506",
                "models/common/language_module/language_module.py:56",
            ),
            cost=Cost.RAISES,
            says="Tied embeddings on different stages need a group of their own, and their "
            "checkpoint asks parallel_state for a rank.",
            ends=Handled(
                "the group is made, and the rank comes from the module's own groups",
                "tests/e2e/test_layers_in_layouts.py::test_tied_embeddings_across_stages",
            ),
        ),
        Fact(
            at=(
                "models/hybrid/hybrid_layer_allocation.py:436-443",
                "transformer/transformer_block.py:150",
            ),
            cost=Cost.SILENT,
            says="Which layers a stage builds follows from its place in the pipeline.",
            ends=Handled(
                "plan and model agree",
                f"{_PLAN}::test_layers_of_a_pattern_are_those_that_megatron_selects",
            ),
        ),
        Fact(
            at=("models/gpt/gpt_layer_specs.py:649",),
            cost=Cost.SILENT,
            says="Every how many layers has experts is counted from the first layer of the whole "
            "decoder, not of a stage.",
            ends=Handled(
                "the layers of a stage are cut from those of the whole",
                f"{_LAYERS}::test_experts_stand_in_every_nth_layer_of_the_whole_decoder",
            ),
        ),
    ),
)
