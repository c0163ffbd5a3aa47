"""The symbols of the layers of a gpt's stages."""

import pytest
from attrs import evolve

from mimodsl.ir import Attention, Gpt, Moe
from mimodsl.planner.families import family_of

GPT = Gpt(layers=12, hidden=64, vocabulary=512, attention=Attention(heads=4))
MOE = Moe(experts=4, topk=2, ffn=64)


@pytest.mark.parametrize("every", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("pp", [1, 2, 3, 12])
@pytest.mark.parametrize("moe", [MOE, None])
def test_symbols_tell_which_layers_have_experts(every: int, pp: int, moe: Moe | None) -> None:
    kind = evolve(GPT, moe=moe, moe_every=every)
    for index in range(pp):
        stage = family_of(kind).stage(kind, index, pp)
        layers = ("*E" if kind.has_experts(layer) else "*-" for layer in stage.layers)
        assert stage.symbols == "".join(layers)
