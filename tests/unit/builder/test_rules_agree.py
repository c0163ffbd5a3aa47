"""The checker and megatron-core agree: what a rule says would be refused, is refused."""

import re
from typing import Any

import pytest
from torch import nn

from mimodsl.checker.rule import Cost, Rule
from mimodsl.checker.rules import RULES
from mimodsl.checker.rules.names import MODULE_DICT_NAMES
from mimodsl.ir import LanguageModel, Spec, VisionEncoder
from mimodsl.lower import parse
from tests.citations import CORE, place_lines
from tests.unit.builder.built import encoder_config, language_config

CONFIGS = ("transformer/transformer_config.py", "model_parallel_config.py")
SCHEDULE = "\nschedule 1f1b {\n  sequence = 64\n}\n"

OF_CONFIGS = [
    rule
    for rule in RULES
    if rule.cost is Cost.RAISES and any(place.startswith(CONFIGS) for place in rule.mirrors)
]


def whole(example: str) -> Spec:
    """The spec of a rule's example, which may leave the schedule out."""
    loaded = parse(example if "\nschedule" in example else example + SCHEDULE)
    assert loaded.spec is not None, loaded.diagnostics
    return loaded.spec


def make_configs(spec: Spec) -> None:
    for module in spec.modules:
        if isinstance(module.kind, LanguageModel):
            language_config(spec)
        elif isinstance(module.kind, VisionEncoder):
            encoder_config(spec, module)


@pytest.mark.parametrize("rule", OF_CONFIGS, ids=lambda rule: rule.code)
def test_megatron_refuses_what_the_rule_says_it_refuses(rule: Rule[Any]) -> None:
    with pytest.raises((ValueError, AssertionError)):
        make_configs(whole(rule.example))


def test_names_of_torch_containers_are_known() -> None:
    own = {name for name in dir(nn.ModuleDict()) if not name.startswith("_")}
    assert own - MODULE_DICT_NAMES == set()
    with pytest.raises(KeyError):
        nn.ModuleDict({"train": nn.Identity()})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_what_is_seen_is_what_megatron_says(rule: Rule[Any]) -> None:
    assert bool(rule.mirrors) <= bool(rule.seen) or rule.cost is Cost.UNCLEAR
    assert not rule.seen or rule.seen.endswith((".", ".`"))
    files = {place_lines(place)[0] for place in rule.mirrors}
    # Strings that go on in the next line of source are one.
    sources = [
        re.sub(r'"\s*\n\s*f?"', "", (CORE / file).read_text(encoding="utf-8")) for file in files
    ]
    for quoted in re.findall(r"`([^`]+)`", rule.seen):
        assert any(quoted in text for text in sources), quoted


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_rules_point_at_code_of_megatron(rule: Rule[Any]) -> None:
    for place in rule.mirrors:
        name, lines = place_lines(place)
        line = (CORE / name).read_text(encoding="utf-8").splitlines()[lines.start - 1].strip()
        assert line, f"{place} is blank"
        assert not line.startswith(("#", '"', "'", "logger", "logging")), f"{place}: {line}"
