"""Fields against their schema: names, types, choices, constraints, blocks and presets."""

import pytest

from mimodsl.ir import AdamW, Gpt, Moe, Train
from mimodsl.ir.train import Ddp, Kernels
from tests.unit.lower.texts import (
    BASE,
    GPT,
    codes_and_places,
    mistakes,
    only_mistake,
    spec_of,
    text_at,
)

MOE = "moe = { experts = 8, topk = 2, ffn = 64, score = sigmoid }"


def language(fields: str, before: str = "", base: str = "gpt") -> Gpt:
    kind = spec_of(f"{before}{BASE}module language : {base} {{\n  {fields}\n}}\n").language.kind
    assert isinstance(kind, Gpt)
    return kind


def train_mistake(field: str) -> tuple[str, str, str]:
    one = only_mistake(f"{BASE}let zero = 0\ntrain {{\n  {field}\n}}\n")
    return one.code, text_at(one.primary), one.message


@pytest.mark.parametrize(
    ("field", "code", "place", "message"),
    [
        ("sed = 1", "MIMO201", "sed", "`train` has no field `sed`"),
        ("seed = 1.0", "MIMO202", "1.0", "`seed` takes an integer, found the float 1.0"),
        ("seed = none", "MIMO202", "none", "`seed` takes an integer, found `none`"),
        ("seed = [1]", "MIMO202", "[1]", "`seed` takes an integer, found a list"),
        ("seed = 1x1", "MIMO202", "1x1", "`seed` takes an integer, found the size 1x1"),
        ("seed = {}", "MIMO202", "{}", "`seed` takes an integer, found a block"),
        ("seed = -1", "MIMO203", "-1", "`seed` must be at least 0, found -1"),
        ("seed = 1, seed = 1", "MIMO205", "seed", "`seed` is set twice"),
        ("precision = fp23", "MIMO206", "fp23", "`fp23` is not a choice of `precision`"),
        ('precision = "x"', "MIMO206", '"x"', "`x` is not a choice of `precision`"),
        ("ddp = true", "MIMO202", "true", "`ddp` takes a `ddp { … }` block, found `true`"),
        (
            "ddp = { grad_fp32 = 1 }",
            "MIMO202",
            "1",
            "`grad_fp32` takes `true` or `false`, found the integer 1",
        ),
        ("ddp = { bucket = zero }", "MIMO203", "zero", "`bucket` must be at least 1, found 0"),
        ("optimizer = sgd { lr = 1 }", "MIMO206", "sgd", "`optimizer` takes `adamw`, found `sgd`"),
        (
            "optimizer = { clip = 0 }",
            "MIMO204",
            "{ clip = 0 }",
            "`adamw` needs `lr`, which is not set",
        ),
    ],
)
def test_a_field_that_is_refused(field: str, code: str, place: str, message: str) -> None:
    assert train_mistake(field) == (code, place, message)


def test_help_names_the_nearest_field_and_choice() -> None:
    assert only_mistake(f"{BASE}train {{\n  sed = 1\n}}\n").help == ("did you mean `seed`?",)
    one = only_mistake(f"{BASE}train {{\n  kernels = lokal\n}}\n")
    assert one.help == ("did you mean `local`?",)
    assert one.notes == ("`kernels` is `auto`, `local` or `transformer_engine`",)


def test_a_field_that_resembles_none_lists_all() -> None:
    one = only_mistake(f"{BASE}train {{\n  qqq = 1\n}}\n")
    assert one.help == ()
    assert "`seed`" in one.notes[0]


def test_a_value_out_of_bounds_shows_where_the_constant_was_set() -> None:
    one = only_mistake(f"let zero = 0\n{BASE}train {{\n  ddp = {{ bucket = zero }}\n}}\n")
    assert [(text_at(label), label.text) for label in one.secondary] == [("0", "`zero` is 0")]


def test_quotes_too_many_and_too_few() -> None:
    assert only_mistake(f'{BASE}train {{\n  seed = "7"\n}}\n').help == (
        "write it without quotes: `7`",
    )
    for no_integer in ("1-2", "1__0", "1.5", "true", "none", ""):
        one = only_mistake(f'{BASE}train {{\n  seed = "{no_integer}"\n}}\n')
        assert (one.help, one.edits) == ((), ())
    text = f"{BASE}module language : hybrid {{\n  hidden = 8, vocabulary = 8, pattern = MEM\n}}\n"
    assert only_mistake(text).help == ('write a string in quotes: `pattern = "MEM"`',)


def test_every_mistake_is_found_in_one_run() -> None:
    text = f"{BASE}train {{\n  sed = 1\n  precision = 3\n  ddp = {{ x = 1, bucket = 0 }}\n}}\n"
    assert codes_and_places(text) == [
        ("MIMO201", "sed"),
        ("MIMO202", "3"),
        ("MIMO201", "x"),
        ("MIMO203", "0"),
    ]


def test_a_mistyped_field_is_not_missing_as_well() -> None:
    text = f"{BASE}module language : gpt {{\n  {GPT.replace('hidden', 'hiden')}\n}}\n"
    assert codes_and_places(text) == [("MIMO201", "hiden")]


def test_all_missing_fields_are_one_mistake() -> None:
    one = only_mistake(f"{BASE}module language : gpt {{\n  hidden = 8\n}}\n")
    assert one.message == "`gpt` needs `vocabulary`, `layers` and `attention`, which are not set"
    assert text_at(one.primary) == "language"


def test_defaults_are_the_ir_s() -> None:
    assert spec_of(BASE).train == Train()
    assert spec_of(f"{BASE}train {{\n  optimizer = {{ lr = 1 }}\n}}\n").train.optimizer == AdamW(
        lr=1
    )
    assert spec_of(f"{BASE}train {{\n  ddp = ddp {{}}\n}}\n").train.ddp == Ddp()


def test_a_choice_comes_before_a_constant_of_the_same_name() -> None:
    text = f'{BASE}let local = "auto"\nlet other = "local"\ntrain {{\n  kernels = local\n}}\n'
    assert spec_of(text).train.kernels is Kernels.LOCAL
    assert spec_of(text.replace("= local\n", "= other\n")).train.kernels is Kernels.LOCAL


def test_none_is_the_choice_where_there_is_one() -> None:
    assert str(language(f"{GPT}, positions = none").positions) == "none"
    assert language(f"{GPT}, sequence_parallel = none").sequence_parallel is None


def test_integers_become_floats_where_only_floats_fit() -> None:
    assert isinstance(language(f"{GPT}, dropout = 0").dropout, float)


# Presets.

PRESETS = f"preset small : gpt {{\n  {GPT}, {MOE}\n}}\npreset tiny : small {{\n  hidden = 32\n}}\n"


def test_a_module_takes_a_preset_s_fields_and_overrides_them() -> None:
    kind = language("layers = 7", PRESETS, "tiny")
    assert (kind.hidden, kind.layers, kind.vocabulary) == (32, 7, 512)


def test_a_block_overrides_field_by_field() -> None:
    kind = language("moe = { experts = 4 }", PRESETS, "tiny")
    assert kind.moe == Moe(experts=4, topk=2, ffn=64, score="sigmoid")


def test_none_removes_a_preset_s_block() -> None:
    assert language("moe = none", PRESETS, "small").moe is None


def test_presets_may_come_in_any_order_and_be_long_chains() -> None:
    chain = "".join(f"preset p{index} : p{index + 1}\n" for index in range(400))
    kind = language("layers = 1", f"{chain}preset p400 : small\n{PRESETS}", "p0")
    assert kind.hidden == 64


def test_a_preset_s_mistake_is_said_once() -> None:
    modules = "module a : small\nmodule b : small\n"
    text = f"{PRESETS.replace('topk = 2', 'topk = 0')}{BASE}{modules}"
    assert codes_and_places(text) == [("MIMO203", "0")]


def test_a_preset_need_not_be_complete() -> None:
    assert spec_of(f"{BASE}preset some : gpt {{\n  hidden = 8\n}}\n").modules == ()


def test_a_cycle_of_presets_is_shown() -> None:
    one = only_mistake(f"{BASE}preset a : b\npreset b : a\nmodule m : a\n")
    assert one.code == "MIMO107"
    assert one.message.startswith("presets are based on each other: ")


# Modules.


def test_a_module_may_leave_out_the_only_grid() -> None:
    assert spec_of(f"{BASE}module language : gpt {{\n  {GPT}\n}}\n").modules[0].grid == "llm"


def test_with_several_grids_a_module_names_one() -> None:
    grids = f"grid other {{\n  dense = tp:2\n}}\nplace llm | other\n{BASE}"
    text = f"{grids}module m : gpt {{\n  {GPT}\n}}\n"
    one = only_mistake(text)
    assert (one.code, one.help) == ("MIMO204", ("set `grid` to `other` or `llm`",))


def test_frozen_is_a_module_s() -> None:
    spec = spec_of(f"{BASE}module m : gpt {{\n  {GPT}, frozen = true\n}}\n")
    assert spec.modules[0].frozen


def test_a_header_is_no_field() -> None:
    text = f"{BASE}module m : gpt {{\n  {GPT}\n}}\nflow m -> m {{\n  token = 1, path = 2\n}}\n"
    assert codes_and_places(text) == [("MIMO201", "path")]
    kinds = [one.code for one in mistakes(BASE.replace("sequence", "kind = 1, sequence"))]
    assert kinds == ["MIMO201"]


def test_origins_lead_back_to_the_text() -> None:
    spec = spec_of(f"{PRESETS}{BASE}module language : tiny {{\n  layers = 7\n}}\n")
    kind = spec.language.kind
    assert kind.span("layers").text == "7"
    assert kind.span("hidden").text == "32"
    assert kind.span("vocabulary").text == "512"
    assert kind.span("dropout").text == "language"
    assert spec.language.span().text.startswith("module language")
    assert spec.schedule.span("kind").text == "1f1b"
    assert spec.grids[0].views[0].axes[1].span("size").text == "2"


@pytest.mark.parametrize(
    ("field", "help", "fixed"),
    [
        ("vocab_size = 8", "did you mean `vocabulary`?", "vocabulary"),
        ("padded_vocab_size = 8, vocabulary = 8", "did you mean `vocabulary`?", None),
        ("num_attention_heads = 8", "it belongs in a block: `attention = { heads = … }`", None),
        ("experts = 8", "it belongs in a block: `moe = { experts = … }`", None),
        ("attention = { heads = 4, kv_heads = 2 }", "did you mean `kv_groups`?", "kv_groups"),
    ],
)
def test_names_from_elsewhere_are_known(field: str, help: str, fixed: str | None) -> None:
    (one,) = (
        one
        for one in mistakes(f"{BASE}module language : gpt {{\n  {field}\n}}\n")
        if one.code == "MIMO201"
    )
    assert one.help == (help,)
    assert [edit.replacement for edit in one.edits] == ([fixed] if fixed else [])


@pytest.mark.parametrize(
    ("field", "help"),
    [
        ("lr = 1", "it belongs in a block: `optimizer = adamw { lr = … }`"),
        ("optimizer = adam", "write `optimizer = adamw { … }`"),
        ("seed = True", "did you mean `true`?"),
        ("lr_decay = none_such", "write `lr_decay = constant { … }`"),
    ],
)
def test_a_mistake_of_habit_is_told_with_what_is_meant(field: str, help: str) -> None:
    assert only_mistake(f"{BASE}train {{\n  {field}\n}}\n").help == (help,)


def test_fields_in_a_block_that_the_kind_has_not() -> None:
    text = f"{BASE}module v : vit {{\n  attention = {{ heads = 4 }}\n}}\n"
    (one,) = (one for one in mistakes(text) if one.code == "MIMO201")
    assert one.help == ("set `heads = …` without a block",)


@pytest.mark.parametrize("image", ["64", "[64, 64]"])
def test_a_size_is_shown_for_what_would_be_one(image: str) -> None:
    text = f"{BASE}module v : vit {{\n  image = {image}\n}}\n"
    assert "write `64x64`" in [line for one in mistakes(text) for line in one.help]


def test_a_grid_in_quotes_is_freed_of_them() -> None:
    text = f'{BASE}module language : gpt {{\n  grid = "all"\n}}\n'
    (one,) = (one for one in mistakes(text) if one.code == "MIMO202")
    assert [edit.replacement for edit in one.edits] == ["all"]


def test_a_batch_is_said_to_follow() -> None:
    text = BASE.replace("sequence", "global_batch_size = 4, sequence", 1)
    (one,) = (one for one in mistakes(text) if one.code == "MIMO201")
    assert one.help == (
        "a step has `micro_batch * microbatches` samples per replica of the language model",
    )
