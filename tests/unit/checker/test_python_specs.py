"""Specs made in Python: mistakes that text cannot have, and places given as object paths."""

import attrs
import pytest

from mimodsl.checker.runner import check
from mimodsl.diagnostics import ObjectPath
from mimodsl.ir import (
    AdamW,
    Attention,
    Axis,
    Flow,
    Gpt,
    Grid,
    Hybrid,
    MlpProjector,
    Module,
    Moe,
    Radio,
    Schedule,
    Size,
    Spec,
    Train,
    View,
)

GRID = Grid(name="llm", views={"dense": {"tp": 2, "dp": 2}})
LANGUAGE = Module(
    name="language",
    grid="llm",
    kind=Gpt(layers=2, hidden=64, vocabulary=512, attention=Attention(heads=4)),
)
SCHEDULE = Schedule(kind="1f1b", sequence=64)
ALONE = Spec(grids=[GRID], modules=[LANGUAGE], schedule=SCHEDULE)

ENCODER = Module(
    name="vision",
    grid="encoder",
    kind=Radio(layers=2, hidden=64, heads=4, ffn=128, image=Size(height=64, width=64)),
)
PROJECTOR = Module(name="projector", grid="encoder", kind=MlpProjector())
VLM = Spec(
    grids=[Grid(name="encoder", views={"dense": {"tp": 2, "dp": 2}}), GRID],
    place="encoder",
    modules=[ENCODER, PROJECTOR, LANGUAGE],
    flows=[Flow(path=("vision", "projector", "language"), token=511)],
    schedule=SCHEDULE,
)


def found(spec: Spec) -> list[tuple[str, str]]:
    """Code and object path of every mistake."""
    places = []
    for one in check(spec):
        assert isinstance(one.primary.where, ObjectPath)
        places.append((one.code, str(one.primary.where)))
    return places


def test_a_sound_spec_has_none() -> None:
    assert check(ALONE) == ()


def test_a_mistake_is_at_its_object_path() -> None:
    kind = Hybrid(hidden=64, vocabulary=512, pattern="E", moe=Moe(experts=4, topk=8, ffn=64))
    grid = Grid(name="llm", views={"dense": {"dp": 2}, "expert": {"ep": 2, "pp": None}})
    spec = Spec(grids=[grid], modules=[attrs.evolve(LANGUAGE, kind=kind)], schedule=SCHEDULE)
    assert found(spec) == [("MIMO541", "modules.language.kind.moe.topk")]


def test_a_flow_and_a_list_of_axes_have_paths_by_name() -> None:
    grid = Grid(name="llm", views={"dense": {"tp": 2, "qp": 2}})
    spec = attrs.evolve(VLM, grids=[VLM.grid("encoder"), grid], place="encoder")
    assert ("MIMO303", "grids.llm.views.dense.axes.qp") in found(spec)


def test_axes_are_named_once() -> None:
    view = View(name="dense", axes=[Axis(name="tp", size=2), Axis(name="tp", size=2)])
    spec = attrs.evolve(ALONE, grids=[Grid(name="llm", views=[view])])
    assert [code for code, _ in found(spec)] == ["MIMO304"]


def test_views_are_named_once() -> None:
    views = [View(name="dense", axes={"dp": 2}), View(name="dense", axes={"x": 2})]
    spec = attrs.evolve(ALONE, grids=[Grid(name="llm", views=views)])
    assert [code for code, _ in found(spec)] == ["MIMO311"]


def test_a_grid_has_a_view() -> None:
    spec = attrs.evolve(ALONE, grids=[Grid(name="llm", views=[])])
    assert found(spec) == [("MIMO312", "grids.llm.name")]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"grids": [GRID, GRID]}, "grids.llm.name"),
        ({"modules": [LANGUAGE, attrs.evolve(LANGUAGE)]}, "modules.language.name"),
    ],
)
def test_names_are_declared_once(change: dict[str, object], path: str) -> None:
    assert ("MIMO421", path) in found(attrs.evolve(ALONE, **change))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"modules": [attrs.evolve(LANGUAGE, grid="lm")]}, "modules.language.grid"),
        ({"place": "lm"}, "place"),
        ({"flows": [Flow(path=("vision", "language"), token=1)]}, "flows.vision.path"),
    ],
)
def test_names_are_declared(change: dict[str, object], path: str) -> None:
    spec = attrs.evolve(ALONE, **change)
    assert ("MIMO422", path) in found(spec)
    assert all(one.help for one in check(spec))


@pytest.mark.parametrize("name", ["a.b", "", "2nd", "a b"])
def test_names_are_names_of_the_language(name: str) -> None:
    grid = attrs.evolve(GRID, name=name)
    module = attrs.evolve(LANGUAGE, grid=name)
    assert [
        code for code, _ in found(attrs.evolve(ALONE, grids=[grid], place=name, modules=[module]))
    ] == ["MIMO424"]


def test_huge_grids_take_no_time_to_speak_of() -> None:
    huge = Grid(name="llm", views={"dense": {"tp": 2**40, "dp": 2**41}, "x": {"a": 3}})
    other = Grid(name="encoder", views={"dense": {"tp": 3, "dp": 2**61 - 1}})
    spec = attrs.evolve(VLM, grids=[other, huge])
    assert {"MIMO301", "MIMO501", "MIMO623"} <= {one.code for one in check(spec)}


def test_a_default_block_has_a_path() -> None:
    train = Train(precision="fp16", optimizer=AdamW(lr=1e-3))
    spec = attrs.evolve(VLM, train=train, grids=[*VLM.grids], place="encoder")
    assert ("MIMO722", "train.precision") in found(spec)
