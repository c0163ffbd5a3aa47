"""The Python API: what a notebook does with a spec, from text to plan, without torch."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import mimodsl
from mimodsl import (
    AdamW,
    Axis,
    Beside,
    Flow,
    Grid,
    InvalidSpec,
    MlpProjector,
    Module,
    Schedule,
    Spec,
    Train,
    View,
)
from mimodsl.cli.main import main

SPECS = Path(__file__).parents[2] / "specs"
DEMO = SPECS / "nemotron_vlm.mimo"


def test_the_demo_spec_written_as_objects_equals_the_parsed_one():
    parsed = mimodsl.load(DEMO)
    written = Spec(
        grids=[
            Grid(name="encoder", views={"dense": {"tp": 2, "dp": 2}}),
            Grid(
                name="llm",
                views=[
                    View(
                        name="dense",
                        axes=[
                            Axis(name="tp", size=2),
                            Axis(name="cp", size=1),
                            Axis(name="dp", size=2),
                            Axis(name="pp", size=1),
                        ],
                    ),
                    View(name="expert", axes={"etp": 1, "ep": 2, "edp": 2, "pp": None}),
                ],
            ),
        ],
        place=Beside(parts=["encoder", "llm"]),
        modules=[
            Module(
                name="vision",
                grid="encoder",
                kind=mimodsl.Radio(
                    layers=2, hidden=64, heads=4, ffn=128, image=size(64), max_image=size(128)
                ),
            ),
            Module(name="projector", grid="encoder", kind=MlpProjector(activation="squared_relu")),
            Module(name="language", grid="llm", kind=small_nemotron()),
        ],
        flows=[Flow(path=["vision", "projector", "language"], token=511)],
        schedule=Schedule(kind="1f1b", sequence=64, micro_batch=1, microbatches=4),
        train=Train(
            precision="fp32",
            optimizer=AdamW(lr=3e-3, weight_decay=0.05, clip=1.0),
            seed=1234,
        ),
    )
    assert written == parsed
    assert mimodsl.check(written) == ()
    assert mimodsl.plan(written).world == 8


def size(side: int) -> mimodsl.Size:
    return mimodsl.Size(height=side, width=side)


def small_nemotron() -> mimodsl.Hybrid:
    return mimodsl.Hybrid(
        hidden=128,
        vocabulary=512,
        pattern="MEM*EM",
        mamba=mimodsl.Mamba(heads=8, head_dim=32, state=16, groups=2),
        attention=mimodsl.Attention(heads=4, kv_groups=2, head_dim=32),
        moe=mimodsl.Moe(
            experts=8,
            topk=2,
            ffn=64,
            shared_ffn=128,
            score="sigmoid",
            scaling=2.5,
            expert_bias=True,
            balance="seq_aux_loss",
            aux_loss=0.0,
            router_dtype="fp32",
        ),
    )


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.mimo")), ids=lambda path: path.stem)
def test_a_spec_is_its_own_text(path):
    spec = mimodsl.load(path)
    assert mimodsl.parse(str(spec)) == spec


def test_overrides_are_those_of_set():
    assert mimodsl.plan(mimodsl.load(str(DEMO), {"replicas": "4"})).world == 16


def test_text_that_is_no_spec_raises_with_diagnostics():
    with pytest.raises(InvalidSpec) as raised:
        mimodsl.parse("grid llm {\n  dense = tp:0\n}\n")
    codes = [diagnostic.code for diagnostic in raised.value.diagnostics]
    assert "MIMO203" in codes
    assert "error[MIMO203]" in str(raised.value)


def test_a_wrong_spec_has_diagnostics_and_no_plan():
    spec = mimodsl.parse(DEMO.read_text().replace("ep:2 * edp", "ep:3 * edp"))
    assert [diagnostic.code for diagnostic in mimodsl.check(spec)][:1] == ["MIMO301"]
    with pytest.raises(InvalidSpec, match="MIMO301"):
        mimodsl.plan(spec)


def test_functions_keep_their_names_whatever_is_imported():
    from mimodsl.checker.runner import check as run_rules
    from mimodsl.planner.plan import plan as plan_checked

    assert run_rules is not mimodsl.check
    assert plan_checked is not mimodsl.plan
    for name in ("build", "check", "load", "parse", "plan"):
        assert callable(getattr(mimodsl, name))


def test_what_a_prompt_shows_is_short_and_what_is_printed_is_whole(capsys):
    spec = mimodsl.load(DEMO)
    assert repr(spec.modules[1]) == (
        "Module(name='projector', grid='encoder', kind=MlpProjector(activation='squared_relu'))"
    )
    assert eval(repr(spec.modules), vars(mimodsl.ir)) == spec.modules
    plan = mimodsl.plan(spec)
    assert repr(plan) == "<Plan: 8 ranks, non-colocated>"
    assert repr(plan.rank(4)) == "<RankPlan: rank 4, language>"
    assert main(["plan", str(DEMO)]) == 0
    assert str(plan) == capsys.readouterr().out.strip("\n")
    (mistake, *_) = mimodsl.check(spec.with_module("vision", heads=5))
    assert str(mistake).startswith(f"error[{mistake.code}]: {mistake.message}\n  --> ")


@pytest.mark.parametrize("function", [mimodsl.check, mimodsl.plan])
def test_a_path_in_the_place_of_a_spec_is_told_to_be_loaded(function):
    with pytest.raises(TypeError, match="expected a Spec, as"):
        function("specs/nemotron_vlm.mimo")


def test_every_ir_name_is_at_hand():
    from mimodsl import ir

    for name in ir.__all__:
        assert getattr(mimodsl, name) is getattr(ir, name)
    with pytest.raises(AttributeError, match="no attribute 'Gird'"):
        mimodsl.Gird  # noqa: B018


def test_importing_the_package_imports_little():
    program = "import sys, mimodsl; print({'lark', 'rich', 'torch'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout == b"set()\n"


def test_a_refusal_comes_back_from_a_worker_process():
    with pytest.raises(mimodsl.InvalidSpec) as refused:
        mimodsl.parse("gird g")
    again = pickle.loads(pickle.dumps(refused.value))
    assert str(again) == str(refused.value)
    assert [one.code for one in again.diagnostics] == ["MIMO002"]


@pytest.mark.parametrize("values", [(True, False), ("true", "false")])
def test_a_sweep_writes_values_as_the_language_has_them(tmp_path, values):
    path = tmp_path / "spec.mimo"
    text = "let flag = true\nlet sizes = [1, 2]\ngrid g {\n  dense = tp:1\n}\nschedule 1f1b {\n"
    path.write_text(f"{text}  sequence = 8\n}}\ntrain {{\n  ddp = {{ grad_fp32 = flag }}\n}}\n")
    found = list(mimodsl.sweep(path, {"flag": values, "sizes": [(1,), [2, 3]]}))
    assert [one.spec.train.ddp.grad_fp32 for one in found] == [True, True, False, False]
