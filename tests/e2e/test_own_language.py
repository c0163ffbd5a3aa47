"""A language model in plain torch: its numbers are true, and it trains alike in all layouts."""

import json

import pytest
import torch
from megatron.core.transformer.spec_utils import build_module

import mimodsl
from mimodsl.cli.main import main
from mimodsl.ir.package import CustomModule
from mimodsl.runtime.launch import preload
from mimodsl.runtime.verify.reference import comparable
from mimodsl.runtime.verify.request import TOLERANCE
from mimodsl.runtime.verify.verdict import Cause, Check
from mimodsl.runtime.verify.verify import run_alone, run_layout
from mimodsl.runtime.workers import Watch
from tests.e2e import worlds
from tests.e2e.digits import EXAMPLE, is_installed, measured
from tests.e2e.test_export_python import assert_same, exported, run_script, train

SPEC = EXAMPLE / "convolved.mimo"
DATA = ["--data", "mimo_digits.samples:Digits", "--eval-steps", 5]
WATCH = Watch()
LAYOUTS = {
    "side by side": ("|", 2, 2),
    "more encoders": ("|", 2, 1),
    "more decoders": ("|", 1, 2),
    "together": ("&", 2, 2),
    "one rank": ("&", 1, 1),
}


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    with is_installed(tmp_path_factory.mktemp("site")):
        yield


def text(side, encoders, decoders):
    """The spec in another layout, always with the same eight samples in a step."""
    spec = SPEC.read_text().replace("place eye | llm", f"place eye {side} llm")
    if side == "&":
        spec = spec.replace("schedule 1f1b", "schedule no_pipelining")
    eye, llm = spec.split("grid llm", 1)
    eye = eye.replace("dp:2", f"dp:{encoders}")
    llm = llm.replace("dp:2", f"dp:{decoders}").replace("micro_batch  = 32", "micro_batch  = 2")
    return f"{eye}grid llm{llm}".replace("microbatches = 2", f"microbatches = {4 // decoders}")


def layout(name):
    return comparable(mimodsl.parse(text(*LAYOUTS[name])))


@pytest.fixture(scope="module")
def reference(tmp_path_factory, installed):
    preload()
    folder = tmp_path_factory.mktemp("reference")
    return run_alone(layout("side by side"), steps=2, folder=folder, watch=WATCH)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kind_says_what_its_module_holds_saves_and_computes(dtype):
    from mimo_digits.decoder import build

    spec = mimodsl.load(SPEC)
    claims = CustomModule.in_spec(spec, spec.language)
    module = build_module(build(claims.kind, *claims.place)).to(dtype)
    inputs = torch.randn(5, *claims.inputs, dtype=dtype, requires_grad=True)
    logits, kept, flops = measured(module, inputs)
    assert logits.shape == (5, *claims.outputs)
    assert kept + logits.nbytes == 5 * claims.saved_bytes(dtype.itemsize)
    assert flops == 5 * claims.flops
    assert {name: tuple(each.shape) for name, each in module.named_parameters()} == claims.weights
    assert mimodsl.check(spec) == ()


def test_the_logits_of_a_token_follow_from_earlier_tokens_alone():
    from mimo_digits.decoder import build

    claims = CustomModule.in_spec(spec := mimodsl.load(SPEC), spec.language)
    module = build_module(build(claims.kind, *claims.place))
    embeddings = torch.randn(1, *claims.inputs)
    others = embeddings.clone()
    others[:, 5:] += 1.0
    same = (module(embeddings) == module(others)).all(-1).squeeze(0)
    assert same.tolist() == [True] * 5 + [False] * 3


@pytest.mark.parametrize("name", LAYOUTS)
def test_it_trains_in_every_layout_as_on_one_rank(name, reference):
    verdict = run_layout(layout(name), reference, tolerance=TOLERANCE, watch=WATCH)
    assert verdict.difference is None
    assert verdict.weights.distance < TOLERANCE / 10
    assert 0 <= verdict.steps[1].gradients.distance < TOLERANCE / 10


@pytest.mark.parametrize("name", ["side by side", "together"])
def test_a_gradient_that_is_not_reduced_is_caught(name, reference, monkeypatch):
    from mimodsl.builder import schedule

    original = schedule.finalize_model_grads

    def finalize(modules, **arguments):
        if "CustomDecoder" not in {type(part).__name__ for part in modules[0].modules()}:
            original(modules, **arguments)

    monkeypatch.setattr(schedule, "finalize_model_grads", finalize)
    found = run_layout(layout(name), reference, tolerance=TOLERANCE, watch=WATCH).difference
    assert found is not None
    assert (found.check, found.module) == (Check.GRADIENTS, "language")
    assert found.where == "inner.words.weight"
    # With the distributed optimizer each rank updates a slice, here from its own samples.
    assert found.cause is Cause.WRONG_GROUP
    assert "over dp" in found.reason


def test_labels_that_are_mixed_up_are_caught(reference, monkeypatch):
    """The loss is ours: one of other tokens parts from one rank in the forward pass."""
    from mimodsl.builder.families.package import CustomDecoder

    original = CustomDecoder.compute_language_model_loss

    def shifted(decoder, labels, logits):
        return original(decoder, labels.roll(1, 1), logits)

    monkeypatch.setattr(CustomDecoder, "compute_language_model_loss", shifted)
    found = run_layout(
        layout("side by side"), reference, tolerance=TOLERANCE, watch=WATCH
    ).difference
    assert found is not None
    assert (found.check, found.module, found.where) == (Check.FORWARD, "language", "token losses")


def test_it_learns_to_read_and_goes_on_in_another_layout(tmp_path, capfd):
    """Of held-out digits; guessing reads 10 %."""

    def build(path, *options):
        command = ["build", path, *DATA, "--set", "steps=60", *options, "--device", "cpu", "--json"]
        assert main(list(map(str, command))) == 0
        return json.loads(capfd.readouterr().out)["evaluations"]

    saved, alone = tmp_path / "run", tmp_path / "alone.mimo"
    (reads,) = build(SPEC, "--steps", 60, "--eval-every", 60, "--save", saved)
    assert reads["accuracy"] > 0.6
    alone.write_text(text(*LAYOUTS["one rank"]).replace("_batch  = 2", "_batch  = 32"))
    # On the floor of its learning rate, a step moves nothing.
    (again,) = build(alone, "--steps", 1, "--eval-every", 1, "--load", saved)
    assert again["step"] == 61
    assert again["loss"] == pytest.approx(reads["loss"], rel=1e-4)
    assert again["accuracy"] == pytest.approx(reads["accuracy"], abs=1 / 320)


def test_a_script_takes_it_from_its_package(tmp_path):
    spec = mimodsl.load(SPEC).with_schedule(micro_batch=2)
    script = exported(spec, tmp_path)
    assert "mimo_digits.decoder" in script.read_text()
    expected = worlds.run(spec.world, train, spec)
    assert_same(worlds.run(spec.world, run_script, script)[0], expected[0])


def test_no_flag_describes_it(capfd):
    assert main(["export", str(SPEC), "--to", "megatron-args"]) == 2
    assert "no flag of Megatron-LM's MIMO example describes it" in capfd.readouterr().err
