"""What megatron-core does with Mamba layers, layer patterns and pipeline stages."""

from typing import Final

from mimodsl.checker.catalogue.fact import Area, Fact, Handled, Impossible, ruled
from mimodsl.checker.rule import Cost

_HANDLED: Final = "tests/unit/builder/test_handled.py"
_LAYERS: Final = "tests/unit/builder/test_layer_specs.py"
_PLAN: Final = "tests/property/test_plan_megatron.py"

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
                "tests/unit/megatron/test_mamba_kernels.py::test_layer_and_gradients_follow_the_recurrence",
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
