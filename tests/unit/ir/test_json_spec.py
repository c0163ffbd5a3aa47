"""Files of JSON are read as `.mimo` files are, and what is wrong in them has its place."""

import json
from pathlib import Path

import pytest

import mimodsl
from mimodsl.checker.file_check import check_file
from mimodsl.cli.main import main
from mimodsl.diagnostics import Diagnostic
from mimodsl.diagnostics.render import full
from mimodsl.syntax.reader import read_source

SPECS = Path(__file__).parents[3] / "specs"
SPEC = mimodsl.load(SPECS / "gpt_moe.mimo")


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "spec.json"
        path.write_text(text)
        return path

    return write


def found(path: Path) -> list[str]:
    return [f"{one.code} {one.primary.where} {one.message}" for one in mistakes(path)]


def mistakes(path: Path) -> tuple[Diagnostic, ...]:
    result = check_file(path, read_source(path, path.name), {}, allow_library=False)
    assert (result.spec is None) == bool(result.errors)
    return result.diagnostics


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.mimo")), ids=lambda path: path.stem)
def test_every_shipped_spec_comes_back_through_a_file(path, tmp_path):
    output = tmp_path / "spec.json"
    assert main(["export", str(path), "--to", "json", "--output", str(output)]) == 0
    assert mimodsl.load(output) == mimodsl.load(path)
    assert main(["check", str(output)]) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1,\n"b" 2}', "MIMO015 spec.json:2:5 this is not JSON: Expecting ':' delimiter"),
        ("", "MIMO015 spec.json:1:1 this is not JSON: Expecting value"),
        ('{"a": {"b": 1,\n"b": 2}}', "MIMO015 spec.json:2:1 the key `b` appears twice in one"),
        ('{"a": [NaN]}', "MIMO015 spec.json:1:8 NaN is not a JSON number"),
        ('{"a": -Infinity}', "MIMO015 spec.json:1:7 -Infinity is not a JSON number"),
        ('{"version": 1}', "MIMO016 spec.json:1:1 the field `type` is missing"),
        ("[" * 60_000, "MIMO015 spec.json:1:1 brackets are nested too deeply"),
        ("[1]", "MIMO016 spec.json:1:1 the document is not a spec"),
        (
            '{\n"a": [{}, "}"], "version" : 2}',
            "MIMO016 spec.json:2:17 version: the document has version 2, this mimodsl reads 1",
        ),
        (
            '{"version": 1, "b": ' + "[" * 990 + "]" * 990 + "}",
            "MIMO015 spec.json:1:1 brack",
        ),
    ],
)
def test_text_that_is_no_document(write, text, expected):
    (one,) = found(write(text))
    assert one.startswith(expected)


@pytest.mark.parametrize(
    ("before", "after", "place", "message"),
    [
        ('"seed"', '"sede"', '"sede": 1', "train.sede: `train` has no such field"),
        ('"precision": "fp32"', '"precision": "no"', '"precision": "no"', "train.precision: exp"),
        ('"size": 2', '"size": 0', '"size": 0', "grids[0].views[0].axes[0].size: must be at"),
        ('"type": "moe"', '"type": "mow"', '"moe": {', "modules[0].kind.moe: there is no type"),
        ('"layers": 2,', "", '"kind": {', "modules[0].kind: the field `layers` is missing"),
        ('"grids": [', '"grids": [3, ', '"grids": [3', "grids: expected a list, each item `Grid`"),
        ('"lr": 0.003', '"lr": 1e999', '"lr": 1e999', "train.optimizer.lr: must be finite"),
        ('"lr": 0.003', f'"lr": {10**99}', '"lr": 1', "train.optimizer.lr: must fit into 64"),
        ('"name": "llm"', r'"name": "\ud800"', '"name":', "grids[0].name: must contain only"),
    ],
)
def test_documents_that_are_wrong_are_so_at_a_place(write, before, after, place, message):
    text = mimodsl.to_json(SPEC)
    assert before in text
    path = write(text.replace(before, after, 1))
    (one,) = mistakes(path)
    assert one.code == "MIMO016"
    assert one.message.startswith(message)
    assert one.primary.where.text.startswith(place)
    assert full.render([one])


def test_every_mistake_of_a_document_is_told_at_once(write):
    text = mimodsl.to_json(SPEC)
    for before, after in (
        ('"size": 2', '"size": 0'),
        ('"layers": 2,', '"layer": 2,'),
        ('"type": "moe"', '"type": "mow"'),
        ('"precision": "fp32"', '"precision": "no"'),
    ):
        assert before in text
        text = text.replace(before, after, 1)
    assert [one.message.partition(": ")[0] for one in mistakes(write(text))] == [
        "grids[0].views[0].axes[0].size",
        "modules[0].kind.layer",
        "modules[0].kind.moe",
        "train.precision",
    ]


def test_a_document_that_is_hardly_a_spec_ends_with_a_word_of_it(write):
    document = json.loads(mimodsl.to_json(SPEC))
    document["train"] |= {f"seed_{number}": 1 for number in range(200)}
    codes = [one.code for one in mistakes(write(json.dumps(document)))]
    assert (codes.count("MIMO016"), codes[-1], len(codes)) == (100, "MIMO013", 101)


@pytest.mark.parametrize(
    ("before", "after", "code", "place"),
    [
        ('"hidden": 64', '"hidden": 63', "MIMO504", "4"),
        ('"size": 4', '"size": 3', "MIMO301", "["),
        ('"grid": "llm"', '"grid": "lm"', "MIMO401", '"llm"'),
    ],
)
def test_what_rules_find_has_its_place_too_and_no_edits(write, before, after, code, place):
    text = mimodsl.to_json(SPEC)
    assert before in text
    (one, *_) = mistakes(write(text.replace(before, after, 1)))
    assert one.code.startswith(code)
    assert one.primary.where.text.startswith(place)
    assert one.edits == ()


def test_the_same_mistake_in_two_documents_is_two(write, capsys):
    text = mimodsl.to_json(SPEC).replace('"hidden": 64', '"hidden": 63', 1)
    path = write(text)
    other = path.with_name("other.json")
    other.write_text(text)
    assert main(["check", str(path), str(other), "--format", "concise"]) == 1
    *lines, _ = capsys.readouterr().out.splitlines()
    files = [line.partition(":")[0] for line in lines]
    assert files.count(str(path)) == files.count(str(other)) == len(files) / 2 > 0


def test_no_value_of_the_wrong_kind_is_a_traceback(write):
    """Every value of a document in turn gives way to what cannot be there, or is left out."""
    document = json.loads(mimodsl.to_json(SPEC))

    def places(value, path=()):
        yield path
        if isinstance(value, dict | list):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in pairs:
                yield from places(item, (*path, key))

    for *outer, last in filter(None, list(places(document))):
        for wrong in ({"type": "moe"}, [None], 10**30, "?", None, -1.5):
            damaged = json.loads(json.dumps(document))
            holder = damaged
            for key in outer:
                holder = holder[key]
            holder[last] = wrong
            found(write(json.dumps(damaged)))


def test_a_document_has_nothing_to_set(write, capsys):
    path = write(mimodsl.to_json(SPEC))
    for command in ("check", "plan"):
        assert main([command, str(path), "--set", "replicas=2"]) == 2
        assert "spec.json is JSON, which has no `let`" in capsys.readouterr().err
    with pytest.raises(mimodsl.InvalidSpec, match="a JSON document has no constants"):
        mimodsl.load(path, {"replicas": "2"})
