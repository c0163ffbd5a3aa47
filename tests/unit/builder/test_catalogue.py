"""The catalogue: its places are code, its codes and tests exist, and no refusal is left out."""

import ast
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import megatron.core
import pytest
import torch

from mimodsl.checker.catalogue import AREAS, MEGATRON, Area, Fact, Handled, Impossible, Limit, Ruled
from mimodsl.checker.rules import RULES
from mimodsl.diagnostics.codes import CODES

ROOT = Path(__file__).parents[3]
CORE = Path(megatron.core.__file__).parent
TORCH = Path(torch.__file__).parents[1]
FACTS = [fact for area in AREAS for fact in area.facts]
KNOWN = {*CODES, *(rule.code for rule in RULES)}

# Functions whose every raise and assert has an entry, or is the source of a rule.
READ_WHOLE = (
    ("transformer/transformer_config.py", "TransformerConfig.__post_init__"),
    ("model_parallel_config.py", "ModelParallelConfig.__post_init__"),
    ("model_parallel_config.py", "resolve_tensor_parallel_weight_shards"),
    ("hyper_comm_grid.py", "HyperCommGrid.__init__"),
    ("hyper_comm_grid.py", "HyperCommGrid.register_view"),
    ("models/hybrid/hybrid_layer_allocation.py", "parse_hybrid_pattern"),
    ("models/hybrid/hybrid_layer_allocation.py", "_validate_pattern"),
    ("models/hybrid/hybrid_layer_allocation.py", "select_pipeline_segment"),
    ("ssm/mamba_mixer.py", "MambaMixer.__init__"),
    ("ssm/mamba_context_parallel.py", "MambaContextParallel.__init__"),
    ("models/mimo/comm/colocated_communicator.py", "ColocatedBridgeCommunicator._validate_grids"),
    ("models/mimo/config/role.py", "RankRole._from_grid_map"),
    ("pipeline_parallel/bridge_communicator.py", "BridgeCommunicator.__init__"),
    ("pipeline_parallel/bridge_communicator.py", "BridgeCommunicator.build_comm_map"),
    (
        "distributed/distributed_data_parallel_config.py",
        "DistributedDataParallelConfig.__post_init__",
    ),
    ("transformer/moe/moe_layer.py", "BaseMoELayer.__init__"),
    ("transformer/moe/moe_layer.py", "MoELayer.__init__"),
    ("transformer/moe/router.py", "TopKRouter.__init__"),
    ("transformer/moe/router.py", "TopKRouter.sinkhorn_load_balancing"),
    ("transformer/moe/shared_experts.py", "SharedExpertMLP.__init__"),
    ("transformer/moe/experts.py", "TEGroupedMLP.__init__"),
    ("transformer/moe/token_dispatcher.py", "MoEAlltoAllTokenDispatcher.__init__"),
    ("transformer/moe/token_dispatcher.py", "MoEFlexTokenDispatcher.__init__"),
    ("transformer/attention.py", "Attention.__init__"),
    ("transformer/attention.py", "SelfAttention.__init__"),
    ("transformer/dot_product_attention.py", "DotProductAttention.__init__"),
    ("transformer/transformer_block.py", "get_num_layers_to_build"),
    ("transformer/torch_norm.py", "WrappedTorchNorm.__new__"),
    ("tensor_parallel/layers.py", "ColumnParallelLinear.__init__"),
    ("tensor_parallel/layers.py", "RowParallelLinear.__init__"),
    ("models/gpt/gpt_model.py", "GPTModel.__init__"),
    ("models/hybrid/hybrid_model.py", "HybridModel.__init__"),
    ("models/hybrid/hybrid_block.py", "HybridStack.__init__"),
    ("models/common/language_module/language_module.py", "LanguageModule.__init__"),
    ("models/common/embeddings/language_model_embedding.py", "LanguageModelEmbedding.forward"),
    ("models/vision/radio.py", "RADIOViTModel.__init__"),
    ("models/vision/radio.py", "RADIOViTModel.forward"),
    ("models/vision/clip_vit_model.py", "CLIPViTModel.__init__"),
    ("models/vision/clip_vit_model.py", "CLIPViTModel.forward"),
    ("models/vision/multimodal_projector.py", "MultimodalProjector.__init__"),
    ("models/mimo/model/base.py", "MimoModel"),
    ("models/mimo/submodules/base.py", "ModalitySubmodules"),
    ("models/mimo/submodules/vision.py", "VisionModalitySubmodules.__init__"),
    ("models/mimo/optimizer.py", "get_mimo_optimizer"),
    ("models/mimo/optimizer.py", "_restore_param_groups"),
    ("models/mimo/partition/utils.py", "PartitionConfig.from_mp_config"),
    ("models/mimo/partition/utils.py", "PartitionAdapter.shard"),
    ("pipeline_parallel/multimodule_communicator.py", "MultiModulePipelineCommunicator"),
    ("pipeline_parallel/schedules.py", "forward_backward_pipelining_without_interleaving"),
    ("pipeline_parallel/schedules.py", "forward_backward_no_pipelining"),
    ("process_groups_config.py", "ProcessGroupCollection.setup_process_groups_for_ddp"),
    ("process_groups_config.py", "ProcessGroupCollection.setup_process_groups_for_optimizer"),
    ("distributed/distributed_data_parallel.py", "DistributedDataParallel.__init__"),
    ("distributed/finalize_model_grads.py", "finalize_model_grads"),
    ("optimizer/optimizer_config.py", "OptimizerConfig.__post_init__"),
)


def source(place: str) -> tuple[Path, range]:
    """The file and the lines of a place."""
    name, _, lines = place.partition(":")
    first, _, last = lines.partition("-")
    root = TORCH if name.startswith("torch/") else CORE
    return root / name, range(int(first), int(last or first) + 1)


def test_the_version_is_the_one_that_was_read() -> None:
    assert version("megatron-core") == MEGATRON


@pytest.mark.parametrize("place", sorted({place for fact in FACTS for place in fact.at}))
def test_a_place_is_code(place: str) -> None:
    path, span = source(place)
    lines = path.read_text(encoding="utf-8").splitlines()
    for number in (span.start, span.stop - 1):
        line = lines[number - 1].strip()
        assert line, f"line {number} is blank"
        assert not line.startswith(("#", '"""', "logger.", "logging."))


def test_entries_read_as_sentences_and_say_each_thing_once() -> None:
    for fact in FACTS:
        assert fact.at
        assert fact.says.endswith(".")
        assert fact.says[0].isupper() or fact.says.startswith(("cp ", "pp ", "fp8 "))
    assert len({fact.says for fact in FACTS}) == len(FACTS)


def test_codes_of_entries_exist() -> None:
    named = {code for fact in FACTS if isinstance(fact.ends, Ruled) for code in fact.ends.codes}
    assert named <= KNOWN


def test_every_rule_that_comes_from_megatron_has_an_entry() -> None:
    named = {code for fact in FACTS if isinstance(fact.ends, Ruled) for code in fact.ends.codes}
    ours = {rule.code for rule in RULES if rule.mirrors}
    elsewhere = {code for fact in FACTS for code in ours if code in str(fact.ends)}
    assert ours - named - elsewhere == UNLISTED


UNLISTED = {
    # Rules of the language that cite the code which would meet the mistake in its own way.
    "MIMO603",
    "MIMO604",
    "MIMO605",
}


def _functions(path: Path) -> Iterator[str]:
    """The functions of a test file, those of classes as `Class::function`."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (
                f"{node.name}::{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef)
            )


PROOFS = sorted({fact.ends.test for fact in FACTS if isinstance(fact.ends, Handled | Impossible)})


@pytest.mark.parametrize("test", PROOFS)
def test_a_proof_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert name in set(_functions(ROOT / path))


def test_limits_say_why() -> None:
    assert all(len(fact.ends.why) > 20 for fact in FACTS if isinstance(fact.ends, Limit))


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.title)
def test_an_area_says_what_becomes_of_each_fact(area: Area) -> None:
    assert area.facts
    assert all(isinstance(fact, Fact) for fact in area.facts)


def _refusals(path: Path, qualified: str) -> dict[int, set[int]]:
    """Each raise and assert of a function, with its lines and that of the `if` right around it."""
    tree: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for name in qualified.split("."):
        tree = next(
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
        )
    found: dict[int, set[int]] = {}

    def visit(node: ast.AST, around: set[int]) -> None:
        if isinstance(node, ast.Raise | ast.Assert):
            found[node.lineno] = {*range(node.lineno, (node.end_lineno or 0) + 1), *around}
        for child in ast.iter_child_nodes(node):
            visit(child, {node.lineno} if isinstance(node, ast.If) else around)

    visit(tree, set())
    return found


@pytest.mark.parametrize(("file", "function"), READ_WHOLE, ids=lambda part: part)
def test_no_refusal_is_left_out(file: str, function: str) -> None:
    places = [place for fact in FACTS for place in fact.at]
    places += [place for rule in RULES for place in rule.mirrors]
    cited = {line for place in places if place.startswith(f"{file}:") for line in source(place)[1]}
    refusals = _refusals(CORE / file, function)
    assert refusals
    assert [line for line, own in refusals.items() if not own & cited] == []
