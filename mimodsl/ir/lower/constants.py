"""The values of all constants, in whatever order they are declared, and `--set`."""

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen

from mimodsl.diagnostics import Diagnostic, Label, codes
from mimodsl.diagnostics.suggest import did_you_mean, listed
from mimodsl.ir.evaluate import FAILED, LITERAL_WORDS, Constant, Evaluator, Failed, kind_of
from mimodsl.ir.lower.names import Report, Scope, Scopes
from mimodsl.ir.lower.order import in_order_of_need
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import ast
from mimodsl.syntax.parser import parse_value

type Constants = Mapping[str, Constant | Failed]

_RISING: Final = {("integer", "float")}


@frozen(kw_only=True)
class Context:
    """What a value needs to be worked out: the names that its file sees, and their values."""

    scope: Scope
    constants: Constants

    @property
    def report(self) -> Report:
        return self.scope.report

    @property
    def evaluator(self) -> Evaluator:
        return Evaluator(constant=self.constant, report=self.report)

    def constant(self, word: ast.Word) -> Constant | Failed:
        """The value of a constant; reports a word that is none."""
        if word.text in self.scope.names(ast.Let):
            return self.constants[word.text]
        self.scope.missing(ast.Let, ast.Name(text=word.text, span=word.span), LITERAL_WORDS)
        return FAILED


def evaluate_lets(scopes: Scopes, overrides: Mapping[str, str]) -> Constants:
    """Evaluate every `let`, those of the main file with what `--set` puts in their place."""
    lets = {let.name.text: (let, scope) for let, scope in scopes.each(ast.Let)}
    replaced = _replacements(scopes, overrides)
    values = {name: replaced.get(name, let.value) for name, (let, _) in lets.items()}
    order, cycles = in_order_of_need(
        {name: tuple(word.text for word in _words(value)) for name, value in values.items()}
    )
    constants: dict[str, Constant | Failed] = {}
    for cycle in cycles:
        scopes.report(_cycle(cycle, {name: let for name, (let, _) in lets.items()}))
        constants |= dict.fromkeys(cycle, FAILED)
    for name in order:
        context = Context(scope=lets[name][1], constants=constants)
        constants[name] = context.evaluator.evaluate(values[name])
    for name, value in replaced.items():
        let, scope = lets[name]
        original = Evaluator(
            constant=Context(scope=scope, constants=constants).constant, report=_ignore
        ).evaluate(let.value)
        if not _fits(constants[name], original):
            scopes.report(_type_changed(let, value, constants[name], original))
            constants[name] = FAILED
    return constants


def _ignore(diagnostic: Diagnostic) -> None:
    """The original value's mistakes do not matter where another takes its place."""


def _replacements(scopes: Scopes, overrides: Mapping[str, str]) -> dict[str, ast.Value]:
    own = {let.name.text for let in scopes.main.file.of(ast.Let)}
    found: dict[str, ast.Value] = {}
    for name, text in overrides.items():
        source = SourceFile("--set", f"{name}={text}")
        start = len(name) + 1
        if name not in own:
            if not scopes.lost.covers(ast.Let, name):
                near = did_you_mean(name, own)
                scopes.report(
                    codes.SET_UNKNOWN.at(
                        Span(source, 0, len(name)),
                        f"the main spec has no `let {name}`",
                        notes=(f"`--set` can change {listed(sorted(own))}",)
                        if own and not near
                        else (),
                        help=near,
                    )
                )
            continue
        value = parse_value(source, start)
        if isinstance(value, Diagnostic):
            span = Span(source, start, len(source.text))
            scopes.report(codes.SET_VALUE.at(span, f"not a value: {value.message}"))
        else:
            found[name] = value
    return found


def _words(value: ast.Value) -> Iterator[ast.Word]:
    match value:
        case ast.Word():
            if value.text not in LITERAL_WORDS:
                yield value
        case ast.Group():
            yield from _words(value.value)
        case ast.Negation():
            yield from _words(value.operand)
        case ast.Arithmetic():
            yield from _words(value.first)
            for _, operand in value.rest:
                yield from _words(operand)
        case ast.List():
            for item in value.items:
                yield from _words(item)
        case _:
            pass


def _cycle(cycle: tuple[str, ...], lets: Mapping[str, ast.Let]) -> Diagnostic:
    first, *others = dict.fromkeys(cycle)
    return codes.LET_CYCLE.at(
        lets[first].name.span,
        f"constants need each other: {' -> '.join(cycle)}",
        secondary=tuple(Label(lets[name].name.span) for name in others),
        help=("give one of them a value that needs none of the others",),
    )


def _fits(value: Constant | Failed, original: Constant | Failed) -> bool:
    if isinstance(value, Failed) or isinstance(original, Failed) or original is None:
        return True
    kinds = kind_of(value), kind_of(original)
    return kinds[0] == kinds[1] or kinds in _RISING


def _type_changed(
    let: ast.Let, value: ast.Value, new: Constant | Failed, old: Constant | Failed
) -> Diagnostic:
    assert not isinstance(new, Failed)
    assert not isinstance(old, Failed)
    return codes.SET_VALUE.at(
        value.span,
        f"`{let.name}` is of type {kind_of(old)}, and is set to one of type {kind_of(new)}",
        secondary=(Label(let.value.span, kind_of(old)),),
    )
