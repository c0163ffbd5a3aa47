"""Which microbatches a bridge can carry, and what is said of the others."""

from typing import Any

import attrs
import pytest
import torch

from mimodsl.builder.images import ImageBridge, image_bridges
from mimodsl.ir import Beside, Grid, Spec, Together
from tests.unit.builder.models import spec

TOKEN = 511
IMAGE_TOKENS = 4


def bridge(
    *, encoders: int = 2, languages: int = 2, shared: bool = False, awaited: bool = False
) -> ImageBridge:
    return ImageBridge(
        encoder="vision",
        token=TOKEN,
        image_tokens=IMAGE_TOKENS,
        encoders=encoders,
        languages=languages,
        shared=shared,
        awaited=awaited,
    )


def microbatch(places: list[int], images: int | None) -> dict[str, Any]:
    """Samples with so many images' placeholders each, and so many images for the encoder."""
    ids = [
        [TOKEN] * (IMAGE_TOKENS * count) + [0] * (IMAGE_TOKENS * (4 - count)) for count in places
    ]
    inputs = None if images is None else {"vision": {"x": torch.zeros(images, 3, 8, 8)}}
    return {"input_ids": torch.tensor(ids), "modality_inputs": {"vision": inputs}}


CARRIED = {
    "as many as there are places for": (bridge(), [2, 2], 4),
    "other numbers in other samples": (bridge(), [3, 1, 0], 4),
    "other numbers, fan-out": (bridge(languages=4), [3, 1], 4),
    "none at all": (bridge(), [0, 0], None),
    "fan-in, of which this rank encodes its own": (bridge(encoders=4), [1], 1),
    "colocated fan-in, of which this rank encodes half": (
        bridge(encoders=4, shared=True),
        [1, 1],
        1,
    ),
    "colocated fan-out, where this rank encodes others', too": (
        bridge(languages=4, shared=True),
        [1, 0],
        2,
    ),
}
REFUSED = {
    "no images for placeholders": (
        bridge(),
        [1, 0],
        None,
        "makes 0 tokens .* places for 4",
    ),
    "images without placeholders": (bridge(), [0, 0], 1, "makes 4 tokens .* places for 0"),
    "other numbers, fan-in": (
        bridge(encoders=4),
        [1, 2],
        3,
        "have 4 to 8 tokens of `vision`; where 4 replicas of it feed 2 .* equal parts",
    ),
    "other numbers, colocated fan-in": (
        bridge(encoders=4, shared=True),
        [0, 1],
        1,
        "have 0 to 4 tokens of `vision`; where 4 replicas of it feed 2",
    ),
    "other numbers, colocated fan-out": (
        bridge(languages=4, shared=True),
        [1, 0],
        3,
        "places for 8 if 2 replicas of the language model get as many each: .* equal parts",
    ),
    "none where DDP waits": (bridge(awaited=True), [0, 0], None, "no image; with `overlap_grad_"),
}


@pytest.mark.parametrize(("over", "places", "images"), CARRIED.values(), ids=CARRIED)
def test_a_bridge_carries(over: ImageBridge, places: list[int], images: int | None) -> None:
    over.check(microbatch(places, images), encodes=True)


@pytest.mark.parametrize(("over", "places", "images", "why"), REFUSED.values(), ids=REFUSED)
def test_a_bridge_refuses(
    over: ImageBridge, places: list[int], images: int | None, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        over.check(microbatch(places, images), encodes=True)


def test_a_reader_alone_sees_that_samples_differ_before_they_fan_in() -> None:
    batch = microbatch([1, 2], None)
    bridge().check(batch, encodes=False)
    with pytest.raises(ValueError, match="all have the same number"):
        bridge(encoders=4).check(batch, encodes=False)


def test_a_stage_that_is_given_no_text_is_not_asked() -> None:
    bridge(encoders=4).check({"input_ids": None}, encodes=True)


@pytest.mark.parametrize("place", [Beside, Together])
def test_bridges_follow_from_the_spec(place: type) -> None:
    grids = (Grid(name="e", views={"dense": {"dp": 4}}), Grid(name="l", views={"dense": {"dp": 4}}))
    whole = spec()
    modules = [
        attrs.evolve(
            module, grid="l" if module.name == "language" else "e", frozen=module.name != "language"
        )
        for module in whole.modules
    ]
    whole = attrs.evolve(whole, grids=grids, place=place(parts=("e", "l")), modules=modules)
    (found,) = image_bridges(_overlapped(whole))
    assert found == attrs.evolve(
        bridge(encoders=4, languages=4, shared=place is Together), image_tokens=found.image_tokens
    )
    trained = attrs.evolve(whole, modules=[attrs.evolve(one, frozen=False) for one in modules])
    assert [one.awaited for one in image_bridges(_overlapped(trained))] == [True]


def _overlapped(whole: Spec) -> Spec:
    ddp = attrs.evolve(whole.train.ddp, overlap_grad_reduce=True)
    return attrs.evolve(whole, train=attrs.evolve(whole.train, ddp=ddp))
