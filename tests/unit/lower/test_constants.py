"""Constants: arithmetic, order, and `--set`."""

import pytest

from tests.unit.lower.texts import (
    BASE,
    SCHEDULE,
    codes_and_places,
    only_mistake,
    spec_of,
    text_at,
)


def seed(value: str, lets: str = "", **overrides: str) -> int:
    return spec_of(f"{BASE}{lets}train {{\n  seed = {value}\n}}\n", **overrides).train.seed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("20 - 2 - 3", 15),
        ("7 // 2 * 2", 6),
        ("-7 // 2 + 9", 5),
        ("-7 % 3", 2),
        ("2 * -3 + 7", 1),
    ],
)
def test_arithmetic_is_python_s_on_integers(text: str, value: int) -> None:
    assert seed(text) == value


@pytest.mark.parametrize("text", ["1 + 2.0", "1 + true", '1 + "a"', "1 + [1]", "-true", "1 % 0"])
def test_arithmetic_takes_integers_alone(text: str) -> None:
    assert [code for code, _ in codes_and_places(f"{BASE}let x = {text}\n")] == ["MIMO207"]


def test_arithmetic_stays_within_64_bits() -> None:
    assert seed(f"{2**62} + {2**62 - 1}") == 2**63 - 1
    text = f"{BASE}let x = {2**62} + {2**62}\n"
    assert [code for code, _ in codes_and_places(text)] == ["MIMO207"]


def test_constants_may_come_in_any_order() -> None:
    assert seed("c", "let c = a + b\nlet b = 2 * a\nlet a = 5\n") == 15


def test_a_long_chain_of_constants_is_fine() -> None:
    lets = "".join(f"let x{index} = x{index + 1}\n" for index in range(500))
    assert seed("x0", f"{lets}let x500 = 7\n") == 7


def test_a_cycle_is_shown_and_silences_what_needs_it() -> None:
    one = only_mistake(f"{BASE}let a = b\nlet b = c + 1\nlet c = a\nlet d = 2 * a\n")
    assert one.code == "MIMO106"
    assert len(one.secondary) == 2
    assert {text_at(one.primary), *map(text_at, one.secondary)} == {"a", "b", "c"}
    path = one.message.split(": ")[1].split(" -> ")
    assert path[0] == path[-1]
    assert "->".join(path) in "a->b->c->a->b->c->a"


def test_two_cycles_are_two_mistakes() -> None:
    text = f"{BASE}let a = a\nlet b = c\nlet c = b\n"
    assert [code for code, _ in codes_and_places(text)] == ["MIMO106", "MIMO106"]


def test_a_mistake_is_said_once_however_often_the_constant_is_used() -> None:
    text = f"{BASE}let a = 1 // 0\nlet b = a + a\ntrain {{\n  seed = a\n}}\n"
    assert codes_and_places(text) == [("MIMO207", "0")]


def test_an_unknown_constant_has_its_neighbour_as_help() -> None:
    one = only_mistake(f"{BASE}let replicas = 2\nlet x = 2 * replica\n")
    assert (one.code, text_at(one.primary)) == ("MIMO102", "replica")
    assert one.help == ("did you mean `replicas`?",)


def test_constants_of_every_type_can_stand_in_fields() -> None:
    lets = 'let a = 0.5\nlet b = true\nlet c = 64x32\nlet d = "fp32"\nlet e = none\n'
    fields = "layers = 1, hidden = 8, heads = 1, ffn = 8, dropout = a, bias = b, image = c"
    module = f"module v : vit {{\n  {fields}\n}}\n"
    train = "train {\n  precision = d\n  ddp = { bucket = e }\n}\n"
    spec = spec_of(BASE + lets + module + train)
    kind = spec.module("v").kind
    assert (kind.dropout, kind.bias, str(kind.image)) == (0.5, True, "64x32")
    assert (str(spec.train.precision), spec.train.ddp.bucket) == ("fp32", None)


# --set.


def test_set_replaces_a_constant_before_others_are_worked_out() -> None:
    lets = "let b = 2 * a\nlet a = 5\n"
    assert seed("b", lets, a="7") == 14
    assert seed("b", lets, a="3 + 4") == 14
    assert seed("b", lets, b="a") == 5


def test_an_original_value_does_not_matter_once_it_is_replaced() -> None:
    assert seed("a", "let a = b\nlet b = a\n", a="3") == 3


@pytest.mark.parametrize(
    ("original", "value"), [("2", "2.5"), ("2", '"2"'), ("2.5", "true"), ("1x1", "1"), ("[1]", "1")]
)
def test_set_keeps_the_type(original: str, value: str) -> None:
    one = only_mistake(f"{BASE}let a = {original}\n", a=value)
    assert (one.code, text_at(one.primary)) == ("MIMO112", value)
    assert [text_at(label) for label in one.secondary] == [original]


def test_nothing_follows_from_a_value_of_another_type() -> None:
    one = only_mistake(f"{BASE}let b = 2 * a\nlet a = 2\nlet c = 1 + b\n", a="2.5")
    assert one.code == "MIMO112"


def test_the_type_is_that_of_the_file_whatever_else_is_set() -> None:
    text = f"{BASE}let a = b\nlet b = 1\n"
    assert only_mistake(text, a='"x"', b="2").code == "MIMO112"
    spec_of(text, a="2", b="a")


@pytest.mark.parametrize("value", ["ME", "ME*E", "M|E"])
def test_a_string_that_lost_its_quotes_in_a_shell(value: str) -> None:
    one = only_mistake(f'{BASE}let pattern = "M"\n', pattern=value)
    assert one.code == "MIMO112"
    assert one.help == (f"write a string in quotes: --set 'pattern=\"{value}\"'",)
    spec_of(f'{BASE}let pattern = "M"\nlet other = "E"\n', pattern="other")


def test_an_integer_may_stand_for_a_float() -> None:
    text = f"{BASE}let rate = 0.1\ntrain {{\n  optimizer = adamw {{ lr = rate }}\n}}\n"
    assert spec_of(text, rate="1").train.optimizer.lr == 1


@pytest.mark.parametrize(
    "value", ["", "=", "1\nlet b = 2", "[1", "{ }", "(" * 100, "no_such", "\0"]
)
def test_set_takes_a_value_and_nothing_else(value: str) -> None:
    found = codes_and_places(f"{BASE}let a = 2\n", a=value)
    assert len(found) == 1
    assert found[0][0] in ("MIMO112", "MIMO102", "MIMO208")


def test_set_of_what_the_main_spec_does_not_declare() -> None:
    one = only_mistake(f'use "presets/nemotron.mimo"\n{BASE}let replicas = 2\n', replica="3")
    assert (one.code, text_at(one.primary)) == ("MIMO111", "replica")
    assert one.help == ("did you mean `replicas`?",)


def test_a_grid_may_be_sized_by_constants() -> None:
    text = f"let n = 2\ngrid g {{\n  dense = tp:n * dp:(n * n)\n}}\n{SCHEDULE}"
    assert spec_of(text, n="3").grids[0].world == 27
