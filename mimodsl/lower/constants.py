"""Evaluates all constants, in any order of declaration, with the values of `--set`."""

from collections.abc import Container, Iterator, Mapping
from typing import Final

from attrs import frozen

from mimodsl.diagnostics import Diagnostic, Label, codes
from mimodsl.diagnostics.suggest import did_you_mean, listed
from mimodsl.lower.dependency_order import dependency_order
from mimodsl.lower.evaluate import FAILED, LITERAL_WORDS, Constant, Evaluator, Failed, kind_of
from mimodsl.lower.names import NameScope, NameScopes, Report
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import ast
from mimodsl.syntax.parser import parse_value

type Constants = Mapping[str, Constant | Failed]

_ALLOWED_CHANGES: Final = {("integer", "float")}


@frozen(kw_only=True, eq=False)
class Environment:
    """What the evaluation of a value needs: the names that its file sees, and their values."""

    scope: NameScope
    constants: Constants

    @property
    def report(self) -> Report:
        return self.scope.report

    @property
    def evaluator(self) -> Evaluator:
        return Evaluator(constant=self.constant, report=self.report)

    def knows(self, word: ast.Word) -> bool:
        """Whether a word is the name of a constant, or a literal such as `true`."""
        return word.text in LITERAL_WORDS or word.text in self.scope.names(ast.Let)

    def constant(self, word: ast.Word) -> Constant | Failed:
        """The value of a constant.

        Reports an unknown name, and uses the constant that is certainly meant.
        """
        if word.text in self.scope.names(ast.Let):
            return self.constants[word.text]
        name = ast.Name(text=word.text, span=word.span)
        correction = self.scope.missing(ast.Let, name, LITERAL_WORDS)
        return self.constants.get(correction, FAILED) if correction else FAILED

    def definition(self, value: ast.Value, evaluated: Constant = None) -> tuple[Label, ...]:
        """If `value` is the name of a constant: a label at its declaration, with its value."""
        let = self.scope.names(ast.Let).get(value.text) if isinstance(value, ast.Word) else None
        if not isinstance(let, ast.Let):
            return ()
        text = "" if evaluated is None else f"`{let.name}` is {constant_text(evaluated)}"
        return (Label(let.value.span, text),)


def constant_text(value: Constant) -> str:
    """A constant as the text of a message."""
    return f"[{', '.join(map(constant_text, value))}]" if isinstance(value, tuple) else str(value)


def evaluate_lets(scopes: NameScopes, overrides: Mapping[str, str]) -> Constants:
    """Evaluate every `let`; `overrides` replace values of constants in the main file."""
    replaced = _replacements(scopes, overrides)
    if not replaced:
        return _evaluated(scopes, {}, {})
    # Mistakes in replaced values do not matter; such a value has no type to keep.
    silent = NameScopes(main=scopes.main, lost=scopes.lost, report=lambda _: None)
    return _evaluated(scopes, replaced, _evaluated(silent, {}, {}))


def _evaluated(
    scopes: NameScopes, replaced: Mapping[str, ast.Value], originals: Constants
) -> dict[str, Constant | Failed]:
    """Every constant; a replaced value must keep the type of the original."""
    lets = {let.name.text: (let, scope) for let, scope in scopes.each(ast.Let)}
    values = {name: replaced.get(name, let.value) for name, (let, _) in lets.items()}
    order, cycles = dependency_order(
        {name: tuple(word.text for word in _words(value)) for name, value in values.items()}
    )
    constants: dict[str, Constant | Failed] = {}
    for cycle in cycles:
        scopes.report(_cycle(cycle, {name: let for name, (let, _) in lets.items()}))
        constants |= dict.fromkeys(cycle, FAILED)
    for name in order:
        let, scope = lets[name]
        value = Environment(scope=scope, constants=constants).evaluator.evaluate(values[name])
        if name in replaced and not _fits(value, originals[name]):
            scopes.report(_type_changed(let, values[name], value, originals[name]))
            value = FAILED
        constants[name] = value
    return constants


def _replacements(scopes: NameScopes, overrides: Mapping[str, str]) -> dict[str, ast.Value]:
    lets = {let.name.text: let for let in scopes.main.file.declarations_of(ast.Let)}
    words = {*LITERAL_WORDS, *scopes.scope_of(scopes.main).names(ast.Let)}
    replacements: dict[str, ast.Value] = {}
    for name, text in overrides.items():
        if name in lets:
            value = _replacement(lets[name], text, words)
            if isinstance(value, Diagnostic):
                scopes.report(value)
            else:
                replacements[name] = value
        elif not scopes.lost.covers(ast.Let, name):
            help_line = did_you_mean(name, lets)
            scopes.report(
                codes.SET_UNKNOWN.at(
                    Span(SourceFile("--set", f"{name}={text}"), 0, len(name)),
                    f"the main spec has no `let {name}`",
                    notes=(f"`--set` can change {listed(sorted(lets))}",)
                    if lets and not help_line
                    else (),
                    help=help_line,
                )
            )
    return replacements


def _replacement(let: ast.Let, text: str, words: Container[str]) -> ast.Value | Diagnostic:
    """The new value of a constant. A shell may have removed the quotes of a string."""
    source = SourceFile("--set", f"{let.name}={text}")
    start = len(let.name.text) + 1
    value = parse_value(source, start)
    is_unquoted = isinstance(let.value, ast.String) and '"' not in text
    if isinstance(value, Diagnostic):
        problem = f"not a value: {value.message}"
    elif is_unquoted and (
        unknown_words := [word for word in _words(value) if word.text not in words]
    ):
        problem = f"there is no constant `{unknown_words[0].text}`"
    else:
        return value
    return codes.SET_VALUE.at(
        Span(source, start, len(source.text)),
        problem,
        help=(f"write a string in quotes: --set '{let.name}=\"{text}\"'",) if is_unquoted else (),
    )


def _words(value: ast.Value) -> Iterator[ast.Word]:
    match value:
        case ast.Word():
            if value.text not in LITERAL_WORDS:
                yield value
        case ast.ParenthesisedValue():
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
        f"constants depend on each other: {' -> '.join(cycle)}",
        secondary=tuple(Label(lets[name].name.span) for name in others),
        help=("give one of them a value that does not depend on the others",),
    )


def _fits(value: Constant | Failed, original: Constant | Failed) -> bool:
    if isinstance(value, Failed) or isinstance(original, Failed) or original is None:
        return True
    kinds = kind_of(value), kind_of(original)
    return kinds[0] == kinds[1] or kinds in _ALLOWED_CHANGES


def _type_changed(
    let: ast.Let, value: ast.Value, new: Constant | Failed, old: Constant | Failed
) -> Diagnostic:
    assert not isinstance(new, Failed)
    assert not isinstance(old, Failed)
    return codes.SET_VALUE.at(
        value.span,
        f"`{let.name}` has type {kind_of(old)}, but its new value has type {kind_of(new)}",
        secondary=(Label(let.value.span, kind_of(old)),),
    )
