"""What megatron-core does with experts, their router and their dispatcher."""

from typing import Final

from mimodsl.checker.catalogue.fact import Area, Fact, Handled, Impossible, Limit, ruled
from mimodsl.checker.rule import Cost

_LAYERS: Final = "tests/e2e/test_layers_in_layouts.py"
_CONFIGS: Final = "tests/unit/builder/test_configs.py"
_HANDLED: Final = "tests/unit/builder/test_handled.py"

EXPERTS: Final = Area(
    title="Experts",
    facts=(
        Fact(
            at=("transformer/moe/moe_layer.py:185",),
            cost=Cost.RAISES,
            says="Experts divide by ep.",
            ends=ruled("MIMO531"),
        ),
        Fact(
            at=("transformer/moe/moe_layer.py:181", "process_groups_config.py:180-181"),
            cost=Cost.SILENT,
            says="Experts without expert groups are taken for those of one rank here, and of the "
            "whole world there.",
            ends=ruled("MIMO532"),
        ),
        Fact(
            at=(
                "transformer/transformer_config.py:1468",
                "transformer/transformer_config.py:1538-1554",
            ),
            cost=Cost.RAISES,
            says="Expert parallelism and an expert's width are refused where there are no experts: "
            "also in an encoder whose config was copied from a language model's.",
            ends=Handled(
                "encoders, projectors and dense models say that they have no experts",
                f"{_HANDLED}::test_modules_without_experts_say_so",
            ),
        ),
        Fact(
            at=(
                "transformer/moe/token_dispatcher.py:568",
                "transformer/moe/token_dispatcher.py:1843-1845",
            ),
            cost=Cost.LATE,
            says="The ranks of etp and ep are taken to be in an order in which etp varies faster.",
            ends=ruled("MIMO313"),
        ),
        Fact(
            at=(
                "tensor_parallel/layers.py:961-964",
                "tensor_parallel/layers.py:1379-1382",
                "extensions/transformer_engine.py:982-985",
            ),
            cost=Cost.SILENT,
            says="Where ep is 1 and etp equals tp, gradients of experts are summed over dp and cp.",
            ends=ruled("MIMO314"),
        ),
        Fact(
            at=("tensor_parallel/layers.py:1413", "distributed/finalize_model_grads.py:452"),
            cost=Cost.SILENT,
            says="With sequence parallelism, gradients of the local kernels' expert biases are "
            "summed over tp, whatever experts its ranks hold.",
            ends=Handled(
                "biases of experts say that they are of no split sequence",
                f"{_LAYERS}::test_language_models",
            ),
        ),
        Fact(
            at=("transformer/transformer_config.py:1468",),
            cost=Cost.WASTE,
            says="A grid may spread experts that none of its modules has.",
            ends=ruled("MIMO533"),
        ),
        Fact(
            at=("transformer/moe/moe_layer.py:629-633",),
            cost=Cost.LATE,
            says="Experts with tp above 1 need sequence parallelism: the first forward pass in "
            "training says so.",
            ends=ruled("MIMO534"),
        ),
        Fact(
            at=("transformer/transformer_config.py:2279",),
            cost=Cost.RAISES,
            says="Experts with biases need etp 1.",
            ends=ruled("MIMO536"),
        ),
        Fact(
            at=("transformer/moe/experts.py:204",),
            cost=Cost.RAISES,
            says="Experts with biases, multiplied as one group, refuse dropout that is fused with "
            "a bias.",
            ends=Handled(
                "such a model's dropout is not fused",
                f"{_HANDLED}::test_experts_with_biases_have_no_fused_dropout",
            ),
        ),
        Fact(
            at=("transformer/moe/shared_experts.py:124",),
            cost=Cost.RAISES,
            says="Shared experts have no biases.",
            ends=ruled("MIMO537"),
        ),
        Fact(
            at=("transformer/transformer_config.py:1644",),
            cost=Cost.RAISES,
            says="Shared experts overlap only with the dispatchers alltoall and flex.",
            ends=ruled("MIMO539"),
        ),
        Fact(
            at=("transformer/moe/moe_layer.py:334",),
            cost=Cost.WASTE,
            says="An overlap with shared experts that are not there has no effect.",
            ends=ruled("MIMO546"),
        ),
        Fact(
            at=("transformer/transformer_config.py:1812-1819",),
            cost=Cost.RAISES,
            says="Shared experts that overlap are not computed again in the backward pass.",
            ends=Impossible(
                "`recompute = selective` is attention's scores alone",
                f"{_CONFIGS}::test_recompute",
            ),
        ),
        Fact(
            at=("transformer/moe/moe_utils.py:772-782",),
            cost=Cost.RAISES,
            says="Fused routing is Transformer Engine's, which refuses scores in fp64 and, before "
            "2.13, square roots of softplus.",
            ends=Handled(
                "with its kernels routing is fused where they have it",
                "tests/unit/builder/test_configs.py::test_they_are_where_there_is_a_kernel",
            ),
        ),
        Fact(
            at=("models/backends.py:133", "transformer/transformer_config.py:2651-2667"),
            cost=Cost.RAISES,
            says="One product for all experts, and fused permutation, are Transformer Engine's.",
            ends=ruled("MIMO731"),
        ),
        Fact(
            at=(
                "transformer/transformer_config.py:1531",
                "transformer/transformer_config.py:1638",
                "transformer/transformer_config.py:1660",
            ),
            cost=Cost.RAISES,
            says="Numbers of experts and widths of shared ones below 1 are refused; a capacity "
            "below 0 is dropped without a word.",
            ends=ruled("MIMO203"),
        ),
        Fact(
            at=("transformer/moe/token_dispatcher.py:1770",),
            cost=Cost.RAISES,
            says="The flex dispatcher needs etp·ep above 1.",
            ends=ruled("MIMO538"),
        ),
        Fact(
            at=("transformer/moe/token_dispatcher.py:1274",),
            cost=Cost.RAISES,
            says="The flex dispatcher needs the DeepEP package.",
            ends=Limit("what is installed on a cluster is not in a spec"),
        ),
        Fact(
            at=(
                "transformer/transformer_config.py:1589-1593",
                "transformer/transformer_config.py:1609-1634",
                "transformer/transformer_config.py:1692-1705",
                "transformer/moe/token_dispatcher.py:1798",
            ),
            cost=Cost.RAISES,
            says="The back ends of flex (deepep, hybridep, ncclep) need flex, and knobs of "
            "their own.",
            ends=Impossible(
                "flex has its one default back end",
                f"{_HANDLED}::test_what_the_language_cannot_ask_for_is_off",
            ),
        ),
        Fact(
            at=("transformer/transformer_config.py:2644-2646",),
            cost=Cost.RAISES,
            says="The allgather dispatcher, which is the default, refuses sequences of varying "
            "length, and several modules are scheduled with those.",
            ends=ruled("MIMO539"),
        ),
        Fact(
            at=("transformer/transformer_config.py:2644-2646",),
            cost=Cost.RAISES,
            says="It refuses them in encoders and projectors, too, which have no experts at all.",
            ends=Handled(
                "their configs name alltoall",
                f"{_HANDLED}::test_modules_without_experts_say_so",
            ),
        ),
        Fact(
            at=("transformer/transformer_config.py:2674",),
            cost=Cost.RAISES,
            says="Expert communication that overlaps with other microbatches needs virtual stages "
            "in a pipeline.",
            ends=Impossible(
                "there is no word for it",
                f"{_HANDLED}::test_what_the_language_cannot_ask_for_is_off",
            ),
        ),
    ),
)

ROUTER: Final = Area(
    title="Routers",
    facts=(
        Fact(
            at=("transformer/moe/moe_utils.py:823",),
            cost=Cost.LATE,
            says="More experts a token than there are fail in the first forward pass.",
            ends=ruled("MIMO541"),
        ),
        Fact(
            at=("transformer/transformer_config.py:2284",),
            cost=Cost.RAISES,
            says="An expert bias needs scores of sigmoid or sqrtsoftplus.",
            ends=ruled("MIMO542"),
        ),
        Fact(
            at=("transformer/transformer_config.py:2328-2336",),
            cost=Cost.RAISES,
            says="With one expert a token, a softmax is taken before the choice.",
            ends=ruled("MIMO543"),
        ),
        Fact(
            at=("transformer/transformer_config.py:2338-2356", "transformer/moe/moe_utils.py:656"),
            cost=Cost.RAISES,
            says="Group-limited routing needs groups that divide the experts, and no more used "
            "than there are.",
            ends=ruled("MIMO544", "MIMO545"),
        ),
        Fact(
            at=("transformer/moe/moe_utils.py:812",),
            cost=Cost.SILENT,
            says="Groups without a number of them that a token may use have no effect.",
            ends=ruled("MIMO544"),
        ),
        Fact(
            at=("transformer/transformer_config.py:1687", "transformer/transformer_config.py:1601"),
            cost=Cost.RAISES,
            says="Padding to a capacity needs a capacity, and a dispatcher other than flex.",
            ends=ruled("MIMO547"),
        ),
        Fact(
            at=("transformer/moe/moe_utils.py:442",),
            cost=Cost.LATE,
            says="Padding to more tokens than there are fails in the first forward pass.",
            ends=ruled("MIMO540"),
        ),
        Fact(
            at=("transformer/transformer_config.py:1660-1684",),
            cost=Cost.RAISES,
            says="A capacity goes with balancing losses or none, not with sinkhorn.",
            ends=ruled("MIMO548"),
        ),
        Fact(
            at=("transformer/moe/router.py:295",),
            cost=Cost.LATE,
            says="Sinkhorn refuses a loss coefficient in the first forward pass.",
            ends=ruled("MIMO549"),
        ),
        Fact(
            at=("transformer/moe/router.py:389-398",),
            cost=Cost.WASTE,
            says="The coefficient of a loss that is not chosen is read as 0.",
            ends=ruled("MIMO549"),
        ),
        Fact(
            at=("transformer/moe/router.py:766", "transformer/moe/router.py:288-293"),
            cost=Cost.SILENT,
            says="Sinkhorn makes scores of its own: it reads no score function, bias, scaling "
            "factor or groups.",
            ends=ruled("MIMO550"),
        ),
        Fact(
            at=("transformer/moe/moe_utils.py:840",),
            cost=Cost.WASTE,
            says="A softmax before the choice is read for softmax scores alone.",
            ends=ruled("MIMO527"),
        ),
        Fact(
            at=("distributed/finalize_model_grads.py:351",),
            cost=Cost.SILENT,
            says="The expert bias of a frozen model still moves: it is no parameter.",
            ends=Handled(
                "routers of a frozen language model say that their bias stays",
                f"{_HANDLED}::test_a_frozen_router_keeps_its_expert_bias",
            ),
        ),
        Fact(
            at=("transformer/moe/router.py:428-436",),
            cost=Cost.SILENT,
            says="Balancing losses are averages over a rank's own tokens, so they depend on the "
            "layout.",
            ends=Limit("layouts are compared with `aux_loss = 0.0`, as the small presets have it"),
        ),
        Fact(
            at=("transformer/transformer_config.py:1652",),
            cost=Cost.RAISES,
            says="A list of balancing losses needs as many coefficients.",
            ends=Impossible(
                "a model has one balancing loss",
                f"{_HANDLED}::test_what_the_language_cannot_ask_for_is_off",
            ),
        ),
        Fact(
            at=("transformer/moe/router.py:223",),
            cost=Cost.RAISES,
            says="Quantile balancing goes without losses, groups and fusion.",
            ends=Impossible(
                "`balance` has no such word",
                "tests/unit/lower/test_fields.py::test_a_field_that_is_refused",
            ),
        ),
    ),
)
