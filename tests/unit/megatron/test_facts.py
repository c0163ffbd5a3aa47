"""The facts of the docs: places are code, codes and tests exist, and no refusal is left out."""

import ast
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mimodsl.checker.rules import RULES
from mimodsl.diagnostics.codes import CODES
from tests.citations import CORE, SITE, place_lines

ROOT = Path(__file__).parents[3]
READER = runpy.run_path(str(ROOT / "docs" / "facts.py"))
AREAS = READER["load"]()
FACTS = [fact for area in AREAS for fact in area.facts]

# Functions whose every raise and assert has a fact, or is the source of a rule.
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


@pytest.mark.parametrize("place", sorted({place for fact in FACTS for place in fact.at}))
def test_a_place_is_code(place: str) -> None:
    name, span = place_lines(place)
    lines = ((SITE if name.startswith("torch/") else CORE) / name).read_text().splitlines()
    for number in (span.start, span.stop - 1):
        line = lines[number - 1].strip()
        assert line, f"line {number} is blank"
        assert not line.startswith(("#", '"""', "logger.", "logging."))


def test_facts_read_as_sentences_and_say_each_thing_once() -> None:
    for fact in FACTS:
        assert fact.at
        assert fact.says.endswith(".")
        assert fact.says[0].isupper() or fact.says.startswith(("cp ", "pp ", "fp8 "))
    assert len({fact.says for fact in FACTS}) == len(FACTS)
    assert all(area.facts for area in AREAS)


def test_no_fact_repeats_a_rule() -> None:
    named = {code for fact in FACTS for code in fact.codes}
    assert named <= {*CODES}


def _fact(**keys: Any) -> dict[str, Any]:
    return {"at": ["a.py:1"], "cost": "late", "says": "It fails."} | keys


@pytest.mark.parametrize(
    "row",
    [
        _fact(),
        _fact(handled="by us"),
        _fact(limit="so it is", test="a test"),
        _fact(handled="by us", test="a test", limit="so it is"),
        _fact(limit="so it is", note="and so on"),
    ],
)
def test_a_fact_that_is_incomplete_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a fact has the keys .*'It fails\.'"):
        READER["_fact"](row)


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


@pytest.mark.parametrize("test", sorted({fact.test for fact in FACTS if fact.test}))
def test_a_proof_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert name in set(_functions(ROOT / path))


def test_limits_say_why() -> None:
    assert all(len(fact.words) > 20 for fact in FACTS if fact.end == "limit")


def _condition(node: ast.If) -> set[int]:
    return {*range(node.lineno, (node.test.end_lineno or 0) + 1)}


def _refusals(path: Path, qualified: str) -> dict[int, set[int]]:
    """Each raise and assert of a function, with its lines and those of the `if` right around it."""
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
            visit(child, _condition(node) if isinstance(node, ast.If) else around)

    visit(tree, set())
    return found


@pytest.mark.parametrize(("file", "function"), READ_WHOLE, ids=lambda part: part)
def test_no_refusal_is_left_out(file: str, function: str) -> None:
    places = [place for fact in FACTS for place in fact.at]
    places += [place for rule in RULES for place in rule.mirrors]
    cited = {line for place in places if place.startswith(file) for line in place_lines(place)[1]}
    refusals = _refusals(CORE / file, function)
    assert refusals
    assert [line for line, own in refusals.items() if not own & cited] == []
