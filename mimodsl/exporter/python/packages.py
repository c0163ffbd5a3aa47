"""What a script takes from the packages that bring kinds of their own."""

from collections.abc import Iterator
from string import Template
from typing import Any, Final, cast

from mimodsl.exporter.python.code import Code, name, text
from mimodsl.exporter.python.resolved import Resolved
from mimodsl.exporter.python.source import imports, is_defined
from mimodsl.ir import Between, CustomKind, Module, Size
from mimodsl.ir.package import Claims
from mimodsl.ir.schema import schema

_KINDS: Final = "mimodsl.kinds"


def package_imports(of: Resolved) -> dict[str, str]:
    """How a script imports the kinds and builders of packages, by name.

    `ValueError` for a kind that no script can import, or whose name means something else there.
    """
    lines: dict[str, str] = {}
    for module in of.spec.modules:
        if not isinstance(module.kind, CustomKind):
            continue
        for line in _imports(module.kind):
            known = line.rpartition(" ")[2]
            taken = known in imports() or is_defined(known)
            if taken or lines.get(known, line) != line:
                raise ValueError(f"modules.{module.name}: {known} means two things in the script")
            lines[known] = line
    return lines


def _imports(kind: CustomKind) -> Iterator[str]:
    cls = type(kind)
    if cls.__module__ == "__main__" or "." in cls.__qualname__:
        named = f"{cls.__module__}:{cls.__qualname__}"
        raise ValueError(f"{kind.keyword} is {named}, which no script can import")
    file, _, function = kind.builder.partition(":")
    yield f"from {cls.__module__} import {cls.__name__}"
    yield f"from {file} import {function} as {_builder(kind)}"
    for shared in (Between, Size):
        yield f"from {_KINDS} import {shared.__name__}"


def packages(of: Resolved) -> tuple[str, ...]:
    """The packages, in order and once each, this one among them where there is any."""
    kinds = [module.kind for module in of.spec.modules if isinstance(module.kind, CustomKind)]
    named = dict.fromkeys(type(kind).__module__.partition(".")[0] for kind in kinds)
    return (*named, "mimodsl") if named else ()


def title(module: Module) -> str:
    """The class that holds a module of a package's kind."""
    return "".join(word.capitalize() for word in module.name.split("_")) + "Module"


_CLASS: Final = Template('''
class $title(MegatronModule):
    """`$keyword` of $package: `[n, $inputs]` to `[n, $outputs]`$row."""

    def __init__(self, config: TransformerConfig, groups: ProcessGroupCollection) -> None:
        super().__init__(config=config)
        kind = $kind$between
        self.inner = build_module($build).to(config.params_dtype)

    def forward(self, x: Tensor) -> Tensor:
        return $given
''')


def module_class(of: Resolved, module: Module) -> str:
    """A class around what a package's builder makes."""
    own = Claims.of(of.spec, module)
    kind, given = own.kind, "self.inner(x.to(self.config.params_dtype))"
    if own.between is not None:
        tokens, width = own.inputs
        rows = f"x.view(-1, {tokens}, {width})"
        given = f"self.inner({rows}.to(self.config.params_dtype)).flatten(0, 1)"
    return _CLASS.substitute(
        title=title(module),
        keyword=kind.keyword,
        package=type(kind).__module__.partition(".")[0],
        inputs=", ".join(map(str, own.inputs)),
        outputs=", ".join(map(str, own.outputs)),
        row=", the tokens of all inputs in one row" if own.between else "",
        kind=text(_made(kind), 8, 15),
        between=_between(own),
        build=f"{_builder(kind)}({'kind, between' if own.between else 'kind'})",
        given=given,
    ).strip()


def _between(own: Claims) -> str:
    if own.between is None:
        return ""
    between = own.between
    made = name("Between")(tokens=between.tokens, width=between.width, hidden=between.hidden)
    return f"\n        between = {text(made, 8, 18)}"


def _builder(kind: CustomKind) -> str:
    return f"build_{kind.keyword}"


def _made(kind: CustomKind) -> Code:
    cls = type(kind)
    values = {field.name: _value(getattr(kind, field.name)) for field in schema(cls)}
    return name(cls.__name__)(**values)


def _value(value: Any) -> Any:
    if isinstance(value, Size):
        return name("Size")(height=value.height, width=value.width)
    if isinstance(value, tuple):
        return tuple(map(_value, cast("tuple[Any, ...]", value)))
    return value
