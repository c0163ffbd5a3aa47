"""Features of megatron-core's configs that the language has no word for, with their checks."""

from typing import Final

from mimodsl.checker.catalogue.fact import Area, Fact, Handled, Impossible
from mimodsl.checker.rule import Cost

_TEST: Final = "tests/unit/builder/test_handled.py::test_what_the_language_cannot_ask_for_is_off"
_CONFIG: Final = "transformer/transformer_config.py"


def _absent(says: str, *lines: str) -> Fact:
    """Checks of something that is off in every config that is built."""
    return Fact(
        at=tuple(line if ":" in line else f"{_CONFIG}:{line}" for line in lines),
        cost=Cost.RAISES,
        says=says,
        ends=Impossible("it is off in every config", _TEST),
    )


ABSENT: Final = Area(
    title="What has no word in the language",
    facts=(
        _absent("fp8 and fp4 go with some recipes, versions and layers.", "1400-1440", "1439-1463"),
        _absent("fp8 in experts needs versions of Transformer Engine.", "2294-2306", "2316-2326"),
        _absent(
            "Layers made for inference exclude biases, capacities and more.", "1471-1529", "2830"
        ),
        _absent("Gated delta nets need their own sizes, which divide by tp·cp.", "1347-1381"),
        _absent("Sparse attention needs its kernels, and no biases.", "1383-1396", "2837-2851"),
        _absent("Latent attention excludes some rotary knobs.", "2193", "2966-2975"),
        _absent("Offloading to the CPU excludes pipelines and recomputation.", "1707-1722"),
        _absent("Finer offloading has rules of its own.", "1848-1902"),
        _absent("Paged stashing of experts' activations needs hybridep or ncclep.", "1904-1920"),
        _absent("Grouped expert weights need versions and the fused back end.", "1556-1587"),
        _absent(
            "Uneven pipelines, by counts or by layout.",
            "1923-2108",
            "transformer/transformer_block.py:97-128",
        ),
        _absent("Fused rotary embeddings need Transformer Engine.", "2165-2191"),
        _absent("Activations of Transformer Engine, or stored in fp8.", "2153-2163"),
        _absent("Fused residual norms need RMSNorm.", "2147-2151"),
        _absent("Width-scaled initialisation (muP) needs a base width.", "2197-2201"),
        _absent("CUDA graphs exclude offloading and many modules.", "2365-2384", "2441-2640"),
        _absent("Overlapped expert communication excludes most recomputation.", "2669-2746"),
        _absent("Delayed weight gradients need that overlap.", "2749-2776"),
        _absent("Context parallelism by other means, layer by layer.", "2778-2787"),
        _absent("Symmetric all-reduce needs versions.", "2803-2811"),
        _absent("Rotary positions in some layers only.", "2813-2828"),
        _absent("Attention fixed to a version, or independent of the batch.", "2869-2895"),
        _absent("Fused communication in inference.", "2854-2867"),
        _absent(
            "Deferred embedding gradients need a pipeline and fused gradients.",
            "model_parallel_config.py:545-558",
        ),
        Fact(
            at=("tensor_parallel/layers.py:1070",),
            cost=Cost.RAISES,
            says="Gradients of weights that are added within their product need apex's kernel.",
            ends=Handled(
                "torch's product is put in its place",
                "tests/unit/builder/test_weight_gradients.py"
                "::test_every_gradient_is_what_autograd_adds",
            ),
        ),
        Fact(
            at=(f"{_CONFIG}:2114-2145",),
            cost=Cost.RAISES,
            says="An activation fused with a bias is gelu, silu or quick_gelu, some of them gated "
            "or with a bias only: squared ReLU is refused.",
            ends=Handled(
                "activations are not fused with biases",
                "tests/unit/builder/test_configs.py::test_activations",
            ),
        ),
        Fact(
            at=(f"{_CONFIG}:1724-1761", f"{_CONFIG}:1764-1846"),
            cost=Cost.RAISES,
            says="What is computed again needs a method and a number of layers, or a list of "
            "modules, and not both.",
            ends=Handled(
                "`recompute` is one word for either",
                "tests/unit/builder/test_configs.py::test_recompute",
            ),
        ),
    ),
)
