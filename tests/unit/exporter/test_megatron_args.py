"""The flags of Megatron-LM's example are those that its own run passes, for that run's spec."""

import re
import subprocess
from pathlib import Path

import mimodsl
from mimodsl.exporter.beyond_flags import beyond_flags
from mimodsl.exporter.megatron_args import flags, row_flags
from mimodsl.exporter.target import Launch
from mimodsl.exporter.targets import target
from mimodsl.ir import Attention, Gpt, Mamba, Moe
from mimodsl.ir.facts import Derived
from mimodsl.ir.schema import schema
from mimodsl.planner.plan import plan

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/nemotron_20l.md").read_text().partition("## Flags of the program")[2]
ROW = re.compile(r"^\| `--(?P<flag>[^`]+)` \| (?P<lines>.*?) \| (?P<remark>.*?) ?\|$", re.MULTILINE)
SPEC = mimodsl.load(ROOT / "specs/nemotron_20l.mimo")
FLAGS = {name: value for rows in flags(SPEC, 20).values() for name, value in rows}

NEUTRAL = {
    # Fused kernels for the same numbers, and what the program does besides training.
    *("moe-router-fusion", "moe-permute-fusion", "use-fused-weighted-squared-relu"),
    *("attention-backend", "cross-entropy-loss-fusion", "override-opt-param-scheduler"),
    "rerun-mode",
    # Of layers that the pattern has not.
    *("ffn-hidden-size", "linear-conv-kernel-dim"),
    # Of images whose sizes the data decides.
    "dynamic-resolution",
}
"""Flags of the page that no spec needs."""
EXPLICIT = {"hidden-dropout", "attention-dropout", "moe-router-bias-update-rate"}
"""Flags that the run leaves to Megatron's defaults."""


def script(spec: mimodsl.Spec) -> str:
    launch = Launch(name="run", source="a 'b' $(touch pwned)\ntouch pwned")
    return target("megatron-args").write(launch.nodes(plan(spec)), launch)


def test_the_flags_are_those_of_the_page() -> None:
    page = {row["flag"].partition(" ")[0] for row in ROW.finditer(PAGE)}
    assert page - FLAGS.keys() <= NEUTRAL | {
        name for name in page if name.startswith(("lr", "min"))
    }
    assert FLAGS.keys() - page <= EXPLICIT


def test_values_are_those_of_the_page() -> None:
    for row in ROW.finditer(PAGE):
        name, _, value = row["flag"].partition(" ")
        of_a_line = row["lines"].strip() or "derived" in row["remark"]
        if of_a_line and name in FLAGS and value:
            found = FLAGS[name]
            if isinstance(found, float):
                assert found == float(value), name
            else:
                assert str(found) == value.strip('"').replace("\\|", "|"), name


def test_the_run_itself_says_all_but_a_few_things() -> None:
    assert len(list(beyond_flags(SPEC))) <= 4


def test_what_the_example_has_not_is_said() -> None:
    together = mimodsl.load(ROOT / "specs/nemotron_vlm_colocated.mimo")
    said = "\n".join(beyond_flags(together))
    assert "share ranks" in said
    assert "layers = 2; the example's code has 32" in said
    plain = "\n".join(beyond_flags(mimodsl.load(ROOT / "specs/gpt_moe_vlm.mimo")))
    assert "`vision` is vit" in plain
    assert "`language` is `gpt`" in plain


def test_the_script_is_sound_bash_that_passes_the_flags(tmp_path) -> None:
    path = tmp_path / "run.sh"
    path.write_text(script(SPEC))
    (tmp_path / "torchrun").write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "torchrun").chmod(0o755)
    ran = subprocess.run(
        ["bash", path, "--one-more"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    words = ran.stdout.splitlines()
    assert words[:3] == ["--nproc-per-node", "8", "examples/mimo/pretrain_mimo.py"]
    assert words[words.index("--hybrid-layer-pattern") + 1] == "MEMEM*EMEMEM*EMEMEM*"
    assert words[-1] == "--one-more"
    assert not (tmp_path / "pwned").exists()


def test_a_field_is_passed_by_the_flag_of_its_row() -> None:
    moe = Moe(experts=4, topk=2, ffn=8, score="sigmoid", pre_softmax=True, router_dtype="model")
    passed = dict(row_flags(moe))
    assert passed["num-experts"] == 4
    assert passed["moe-router-score-function"] == "sigmoid"
    assert passed["moe-router-dtype"] is None
    assert "moe-router-bias-update-rate" not in passed, "there is no bias to update"
    assert "moe-grouped-gemm" not in passed, "its value also follows from the kernels"


def test_flags_of_other_values_are_worked_out() -> None:
    """Every flag that a row of a language model names is passed for some model."""
    nodes = (Gpt, Attention, Mamba, Moe)
    facts = [field.facts for cls in nodes for field in schema(cls) if field.facts]
    derived = {name for one in facts if isinstance(one.flag, Derived) for name in one.flag.names}
    kind = mimodsl.load(ROOT / "specs/gpt_moe_vlm.mimo").language.kind
    passed: set[str] = set()
    for activation in ("squared_relu", "swiglu", "quick_gelu"):
        changed = mimodsl.load(ROOT / "specs/gpt_moe_vlm.mimo").with_module(
            "language",
            activation=activation,
            recompute="full",
            bias=False,
            attention={"kv_groups": kind.attention.heads // 2},
            moe_every=2,
            moe={"grouped_gemm": True, "permute_fusion": True},
        )
        passed |= {name for rows in flags(changed, 20).values() for name, _ in rows}
    # The example ties no embeddings, and splits the sequence wherever tp is above 1.
    assert derived - passed == {"untie-embeddings-and-output-weights", "sequence-parallel"}
