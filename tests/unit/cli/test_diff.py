"""`mimodsl diff`: exit codes as diff(1), tables and a document."""

import json

import attrs

import mimodsl as package
from mimodsl.runtime.checkpoint.folder import begin, commit
from mimodsl.runtime.checkpoint.manifest import Manifest


def test_the_same_exits_with_0(mimodsl, demo):
    ran = mimodsl("diff", demo, demo)
    assert (ran.code, ran.out, ran.err) == (0, "no differences\n", "")
    document = json.loads(mimodsl("diff", demo, demo, "--json").out)
    assert document["same"]
    assert document["differences"] == []
    assert all(module["loads"] for module in document["weights"])


def test_differences_exit_with_1(mimodsl, demo):
    ran = mimodsl("diff", demo, demo.with_name("nemotron_vlm_pp.mimo"))
    assert (ran.code, ran.err) == (1, "")
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert lines[0] == "layout"
    assert "module language pattern MEM*EM → MEM|*EM" in lines
    assert lines[-4:] == [
        "weights of A in B",
        "vision loads",
        "projector loads",
        "language loads, resharded: dp 2 → 1, pp 1 → 2, edp 2 → 1",
    ]


def test_a_checkpoint_stands_for_its_spec(mimodsl, demo, tmp_path):
    spec = package.load(demo)
    wider = attrs.evolve(
        spec,
        modules=[
            attrs.evolve(one, kind=attrs.evolve(one.kind, layers=9))
            if one.name == "vision"
            else one
            for one in spec.modules
        ],
    )
    manifest = Manifest(
        step=1, spec=wider, updates={}, scheduled=1, files={}, tensors={}, versions={}
    )
    folder = commit(begin(tmp_path), manifest)
    for path in (tmp_path, folder):
        document = json.loads(mimodsl("diff", path, demo, "--json").out)
        assert document["differences"] == [
            {
                "aspect": "model",
                "where": "module vision",
                "field": "layers",
                "before": "9",
                "after": "2",
            }
        ]
        assert document["weights"][0] == {
            "module": "vision",
            "reason": "layers: 9 → 2",
            "resharded": [],
            "loads": False,
        }


def test_trouble_exits_with_2(mimodsl, demo, broken, tmp_path):
    assert mimodsl("diff", demo, tmp_path / "nowhere").code == 2
    ran = mimodsl("diff", demo, tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert f"error: there is no checkpoint at {tmp_path}" in ran.err
    ran = mimodsl("diff", broken, demo)
    assert (ran.code, ran.out) == (2, "")
    assert "error[MIMO" in ran.err
