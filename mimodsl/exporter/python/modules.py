"""The sections of a script on configs, layers and modules."""

from collections.abc import Callable, Iterator
from string import Template
from typing import Any, Final

from mimodsl.exporter.python import packages
from mimodsl.exporter.python.code import Code, items, keywords, name, text
from mimodsl.exporter.python.code import double_quoted as q
from mimodsl.exporter.python.resolved import Resolved
from mimodsl.exporter.python.source import definition
from mimodsl.ir import (
    CustomKind,
    Flow,
    Gpt,
    Module,
    Positions,
    Radio,
    Spec,
    TransformerLanguage,
    VisionEncoder,
)

_TIED: Final = "tie_embeddings_and_output_weights_state_dict"
"""Of checkpoints, which a script does not write."""

_HAS_EXPERTS: Final = "get_moe_module_spec_for_backend"

_DEFAULTS: Final[dict[str, Any]] = {
    # TransformerConfig's own, of what layer specs ask a config for.
    "num_moe_experts": None,
    "moe_grouped_gemm": False,
    "moe_layer_freq": 1,
    "qk_layernorm": False,
}


def configs(of: Resolved) -> str:
    """The configs: what all have, what dense ones have, and a function for each."""
    found = {module: keywords(config) for module, config in of.configs.items()}
    common, dense = (_table(of, table) for table in ("COMMON", "NO_EXPERTS"))
    shared = _shared(list(found.values()), besides={*common, *dense})
    parts = [definition("COMMON").rstrip().removesuffix("}").rstrip()]
    if shared:
        parts.append("    # Of all modules of this one, too.")
    for field, value in shared.items():
        parts.append(f"    {q(field)}: {text(value, 4, 8 + len(field))},")
    parts.append("}\n")
    if any(_is_dense(fields, dense) for fields in found.values()):
        parts += [definition("NO_EXPERTS"), ""]
    for module, fields in found.items():
        is_dense = _is_dense(fields, dense)
        hidden = {*common, *shared, *(dense if is_dense else ())}
        own = {field: value for field, value in fields.items() if field not in hidden}
        tables = ["COMMON", "NO_EXPERTS"] if is_dense else ["COMMON"]
        parts += ["", *_config(module, tables, own), ""]
    return "\n".join(parts).rstrip()


def _table(of: Resolved, table: str) -> dict[str, Code]:
    return keywords(name("dict")(**getattr(of.builder.configs, table)))


def _is_dense(fields: dict[str, Code], dense: dict[str, Code]) -> bool:
    return all(field in fields and text(fields[field]) == text(dense[field]) for field in dense)


def _shared(configs: list[dict[str, Code]], besides: set[str]) -> dict[str, Code]:
    """Fields that all of several configs have with one value."""
    first, *others = configs
    return {
        field: value
        for field, value in first.items()
        if others and field not in besides
        if all(field in other and text(other[field]) == text(value) for other in others)
    }


def _config(module: str, tables: list[str], own: dict[str, Code]) -> Iterator[str]:
    yield f"def {module}_config() -> TransformerConfig:"
    yield "    return TransformerConfig("
    yield from (f"        **{table}," for table in tables)
    for field, value in own.items():
        yield f"        {field}={text(value, 8, 9 + len(field))},"
    yield "    )"


def language(of: Resolved) -> str:
    """What MimoModel builds the language model from."""
    return "\n".join(_language(of))


def _language(of: Resolved) -> Iterator[str]:
    spec, kind = of.spec, of.spec.language_kind
    assert isinstance(kind, TransformerLanguage)
    stages = of.language_grid.axis("pp")
    fields = keywords(of.configs[spec.language.name])
    asked = {field: _value(fields[field]) for field in _DEFAULTS if field in fields}
    config = name("config", **(_DEFAULTS | asked))
    found = _language_spec(of, config, stages)
    decoder = text(found.pop("module"))
    # What else ours adds is for learned positions and for checkpoints.
    unused = [_TIED] if kind.positions is Positions.LEARNED else [_TIED, "__init__"]
    yield f"{definition('_Decoder', without=unused)}\n"
    yield f"{definition(decoder)}\n"
    yield f"def {spec.language.name}_spec(groups: ProcessGroupCollection) -> ModuleSpec:"
    what = "its stage of the language model" if stages > 1 else "the language model"
    yield f'    """What MimoModel builds {what} from on a rank with these groups."""'
    yield f"    config = {spec.language.name}_config()"
    yield f"    kernels = {of.kernel_set}"
    if stages > 1:
        yield "    stage = groups.pp.rank()"
    if isinstance(kind, Gpt):
        yield from _layers(of, config, stages)
    yield f"    return {text(name('ModuleSpec')(module=name(decoder), **found), 4, 11)}"


def _language_spec(of: Resolved, config: Code, stages: int) -> dict[str, Code]:
    """The arguments of the builder's ModuleSpec, with names for what a script has before it."""
    build = of.builder.language
    build.language_config = _answering(config)
    build.gpt_block = _answering(name("layers"))
    rank = _answering(name("stage") if stages > 1 else 0)
    groups = name("groups", pp=name("groups.pp", rank=rank, size=_answering(stages)))
    return keywords(build.language_spec(of.spec, groups))


def _value(code: Code) -> Any:
    """A constant's value; other expressions as they are."""
    return getattr(code.code_tree, "value", code)


def _answering(value: Any) -> Callable[..., Any]:
    """A function that gives one value, whatever it is asked."""

    def answer(*_: Any, **__: Any) -> Any:
        return value

    return answer


def _layers(of: Resolved, config: Code, stages: int) -> Iterator[str]:
    """The layers of a decoder of like layers, by stage, each kind of layer under a name."""
    build, kind = of.builder.layer_specs, of.spec.language_kind
    assert isinstance(kind, Gpt)
    build.get_num_layers_to_build = _answering(kind.layers // stages)
    blocks = [keywords(build.gpt_block(config, of.kernels, stage)) for stage in range(stages)]
    names: dict[str, str] = {}
    by_stage: list[list[str]] = []
    for block in blocks:
        sources = [text(layer, 4, 20) for layer in items(block["layer_specs"])]
        for source in sources:
            names[source] = "moe_layer" if _HAS_EXPERTS in source else "dense_layer"
        by_stage.append([names[source] for source in sources])
    for source, variable in names.items():
        yield f"    {variable} = {source}"
    lists = [_repeated(each) for each in by_stage]
    alike = len(set(lists)) == 1
    here = lists[0] if alike else f"({', '.join(lists)})[stage]"
    layers = name("TransformerBlockSubmodules")(
        layer_specs=name(here), layer_norm=blocks[0]["layer_norm"]
    )
    yield f"    layers = {text(layers, 4, 13)}"


def _repeated(names: list[str]) -> str:
    """A list of names; of several alike as `[name] * n`."""
    if len(names) > 1 and len(set(names)) == 1:
        return f"[{names[0]}] * {len(names)}"
    return f"[{', '.join(names)}]"


def modality(of: Resolved, flow: Flow) -> str:
    """An encoder's class, and what MimoModel builds encoder and projector from."""
    own = flow.encoder
    title = "".join(word.capitalize() for word in own.split("_")) + "Images"
    build = of.builder.projector
    params = {"config": name(f"{own}_config()"), "groups": name("groups")}
    build.encoder_spec = _answering(name("ModuleSpec")(module=name(title), params=params))
    build.custom_spec = _custom_spec
    build.projector_config = _answering(name(f"{flow.projector or own}_config()"))
    source = text(build.modality_spec(of.spec, flow, name("groups")), 4, 11)
    both = f"`{own}` and `{flow.projector}`" if flow.projector else f"`{own}`"
    towers = [of.spec.module(module) for module in flow.path[:-1]]
    classes = [packages.module_class(of, one) for one in towers if isinstance(one.kind, CustomKind)]
    if not isinstance(of.spec.module(own).kind, CustomKind):
        classes.insert(0, _encoder(of, of.spec.module(own), title))
    lines = [
        *(line for one in classes for line in (one, "\n")),
        f"def {own}_spec(groups: ProcessGroupCollection) -> ModuleSpec:",
        f'    """What MimoModel builds {both} from on a rank with these groups."""',
        *([f"    kernels = {of.kernel_set}"] if "kernels." in source else []),
        f"    return {source}",
    ]
    return "\n".join(lines)


def _custom_spec(_: Spec, module: Module, groups: Code) -> Code:
    params = {"config": name(f"{module.name}_config()"), "groups": groups}
    return name("ModuleSpec")(module=name(packages.title(module)), params=params)


_CROPPING: Final = """
        # force_cpe_eval_mode: in training RADIO crops its position embeddings at random, by each
        # rank's own draws (models/vision/radio.py:626)."""
_PLAIN: Final = """
        # The patch embedding is a plain Conv2d without a dtype, position_ids a plain attribute that
        # stays where it was made (models/vision/clip_vit_model.py:126, 136).
        self.vit.conv1.to(config.params_dtype)
        self.vit.position_ids = self.vit.position_ids.to(torch.cuda.current_device())"""
_ENCODER: Final = Template('''
class $title(MegatronModule):
    """Images `$inputs` to tokens `$outputs`."""

    def __init__(self, config: TransformerConfig, groups: ProcessGroupCollection) -> None:
        super().__init__(config=config)
        kernels = $kernels$before
        self.vit = $vit$after

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.vit(x.to(self.config.params_dtype))
        return $given
''')


def _encoder(of: Resolved, module: Module, title: str) -> str:
    kind = module.kind
    assert isinstance(kind, VisionEncoder)
    dropped = kind.class_tokens if kind.drop_class_tokens else 0
    given = f"tokens[:, {dropped}:]" if dropped else "tokens"
    if isinstance(kind, Radio) and kind.pixel_shuffle:
        rows, columns = kind.image.height // kind.patch, kind.image.width // kind.patch
        given = f"pixel_shuffle({given}, rows={rows}, columns={columns})"
    if dropped:
        given += "  # without class tokens"
    vit = of.builder.radio._vision_transformer(  # noqa: SLF001
        name("config"), kind, of.kernels, name("groups")
    )
    return _ENCODER.substitute(
        title=title,
        inputs=f"[n, 3, {kind.image.height}, {kind.image.width}]",
        outputs=f"[n, {kind.tokens}, {kind.output_width}]",
        kernels=of.kernel_set,
        before=_CROPPING if isinstance(kind, Radio) else "",
        vit=text(vit, 8, 19),
        after="" if isinstance(kind, Radio) else _PLAIN,
        given=given,
    ).strip()
