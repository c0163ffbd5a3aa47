"""The learning rate of every step, as megatron-core's scheduler has it for a spec."""

import math
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest

import mimodsl
from mimodsl.builder.scheduler import build_scheduler, learning_rate
from mimodsl.ir import (
    AdamW,
    ConstantLr,
    CosineLr,
    InverseSquareRootLr,
    LinearLr,
    Train,
    WsdLr,
)
from mimodsl.ir.lr_decay import Anneal
from mimodsl.planner.program.training import optimizer_fields, scheduler_fields

SPEC = Path(__file__).parents[3] / "specs" / "nemotron_vlm.mimo"
LR = 0.1
CURVES = {
    "constant": (ConstantLr(), [LR] * 5),
    "a warm-up": (ConstantLr(warmup=4), [0.0, 0.025, 0.05, 0.075, LR, LR, LR]),
    "a warm-up from": (ConstantLr(warmup=2, init_lr=0.02), [0.02, 0.06, LR, LR]),
    "linear": (LinearLr(steps=4, min_lr=0.02), [LR, 0.08, 0.06, 0.04, 0.02, 0.02]),
    "cosine": (
        CosineLr(steps=6, warmup=2, min_lr=0.02),
        [0.0, 0.05]
        + [0.02 + 0.04 * (1 + math.cos(math.pi * part / 4)) for part in range(5)]
        + [0.02, 0.02],
    ),
    "inverse square root": (
        InverseSquareRootLr(steps=50, warmup=4, min_lr=0.05),
        [0.0, 0.025, 0.05, 0.075, LR, LR * math.sqrt(4 / 5), LR * math.sqrt(4 / 6)],
    ),
    "warm-up, stable, decay": (
        WsdLr(steps=5, warmup=1, anneal=2, anneal_style=Anneal.LINEAR),
        [0.0, LR, LR, LR, 0.05, 0.0, 0.0],
    ),
}


@pytest.mark.parametrize(("decay", "expected"), CURVES.values(), ids=CURVES)
def test_a_learning_rate(decay, expected):
    train = Train(optimizer=AdamW(lr=LR, weight_decay=0.3), lr_decay=decay)
    spec = attrs.evolve(mimodsl.load(SPEC), train=train)
    config = optimizer_fields(spec)
    group = {"max_lr": config["lr"], "min_lr": config["min_lr"], "wd_mult": 0.5}
    scheduler = build_scheduler(SimpleNamespace(param_groups=[group]), scheduler_fields(train))
    found = []
    for _ in expected:
        assert learning_rate(scheduler) == group["lr"]
        found.append(group["lr"])
        scheduler.step(1)
    assert found == pytest.approx(expected)
    assert group["weight_decay"] == pytest.approx(0.15)


def test_a_learning_rate_is_written_and_read():
    text = str(
        attrs.evolve(
            mimodsl.load(SPEC),
            train=Train(lr_decay=WsdLr(steps=500, warmup=20, anneal=50)),
        )
    )
    assert "lr_decay = wsd { warmup = 20, steps = 500, anneal = 50 }" in " ".join(text.split())
    assert mimodsl.parse(text).train.lr_decay == WsdLr(steps=500, warmup=20, anneal=50)
    assert mimodsl.from_json(mimodsl.to_json(mimodsl.parse(text))) == mimodsl.parse(text)
