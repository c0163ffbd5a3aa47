"""The values of all constants, in whatever order they are declared, and `--set`."""

from collections.abc import Container, Iterator, Mapping
from typing import Final

from attrs import frozen

from mimodsl.diagnostics import Diagnostic, Label, codes
from mimodsl.diagnostics.suggest import did_you_mean, listed
from mimodsl.lower.evaluate import FAILED, LITERAL_WORDS, Constant, Evaluator, Failed, kind_of
from mimodsl.lower.names import Report, Scope, Scopes
from mimodsl.lower.order import in_order_of_need
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

    def knows(self, word: ast.Word) -> bool:
        """Whether a word is a constant's, or a literal such as `true`."""
        return word.text in LITERAL_WORDS or word.text in self.scope.names(ast.Let)

    def constant(self, word: ast.Word) -> Constant | Failed:
        """The value of a constant; reports a word that is none, and takes the one it must mean."""
        if word.text in self.scope.names(ast.Let):
            return self.constants[word.text]
        name = ast.Name(text=word.text, span=word.span)
        meant = self.scope.missing(ast.Let, name, LITERAL_WORDS)
        return self.constants.get(meant, FAILED) if meant else FAILED

    def definition(self, value: ast.Value, found: Constant = None) -> tuple[Label, ...]:
        """Where a value that is a constant's is from, and what was found there."""
        let = self.scope.names(ast.Let).get(value.text) if isinstance(value, ast.Word) else None
        if not isinstance(let, ast.Let):
            return ()
        text = "" if found is None else f"`{let.name}` is {plain(found)}"
        return (Label(let.value.span, text),)


def plain(value: Constant) -> str:
    """A constant as a message says it."""
    return f"[{', '.join(map(plain, value))}]" if isinstance(value, tuple) else str(value)


def evaluate_lets(scopes: Scopes, overrides: Mapping[str, str]) -> Constants:
    """Evaluate every `let`, those of the main file with what `--set` puts in their place."""
    replaced = _replacements(scopes, overrides)
    if not replaced:
        return _evaluated(scopes, {}, {})
    # Mistakes in values that others take the place of do not matter, and they have no type.
    silent = Scopes(main=scopes.main, lost=scopes.lost, report=lambda _: None)
    return _evaluated(scopes, replaced, _evaluated(silent, {}, {}))


def _evaluated(
    scopes: Scopes, replaced: Mapping[str, ast.Value], originals: Constants
) -> dict[str, Constant | Failed]:
    """Every constant; what is `replaced` has to keep the type of the original."""
    lets = {let.name.text: (let, scope) for let, scope in scopes.each(ast.Let)}
    values = {name: replaced.get(name, let.value) for name, (let, _) in lets.items()}
    order, cycles = in_order_of_need(
        {name: tuple(word.text for word in _words(value)) for name, value in values.items()}
    )
    constants: dict[str, Constant | Failed] = {}
    for cycle in cycles:
        scopes.report(_cycle(cycle, {name: let for name, (let, _) in lets.items()}))
        constants |= dict.fromkeys(cycle, FAILED)
    for name in order:
        let, scope = lets[name]
        found = Context(scope=scope, constants=constants).evaluator.evaluate(values[name])
        if name in replaced and not _fits(found, originals[name]):
            scopes.report(_type_changed(let, values[name], found, originals[name]))
            found = FAILED
        constants[name] = found
    return constants


def _replacements(scopes: Scopes, overrides: Mapping[str, str]) -> dict[str, ast.Value]:
    own = {let.name.text: let for let in scopes.main.file.declarations_of(ast.Let)}
    words = {*LITERAL_WORDS, *scopes.of(scopes.main).names(ast.Let)}
    found: dict[str, ast.Value] = {}
    for name, text in overrides.items():
        if name in own:
            value = _replacement(own[name], text, words)
            if isinstance(value, Diagnostic):
                scopes.report(value)
            else:
                found[name] = value
        elif not scopes.lost.covers(ast.Let, name):
            near = did_you_mean(name, own)
            scopes.report(
                codes.SET_UNKNOWN.at(
                    Span(SourceFile("--set", f"{name}={text}"), 0, len(name)),
                    f"the main spec has no `let {name}`",
                    notes=(f"`--set` can change {listed(sorted(own))}",)
                    if own and not near
                    else (),
                    help=near,
                )
            )
    return found


def _replacement(let: ast.Let, text: str, words: Container[str]) -> ast.Value | Diagnostic:
    """The value that a constant is set to; of a string, quotes may be lost in a shell."""
    source = SourceFile("--set", f"{let.name}={text}")
    start = len(let.name.text) + 1
    value = parse_value(source, start)
    bare = isinstance(let.value, ast.String) and '"' not in text
    if isinstance(value, Diagnostic):
        problem = f"not a value: {value.message}"
    elif bare and (unknown := [one for one in _words(value) if one.text not in words]):
        problem = f"there is no constant `{unknown[0].text}`"
    else:
        return value
    return codes.SET_VALUE.at(
        Span(source, start, len(source.text)),
        problem,
        help=(f"a string stands in quotes: --set '{let.name}=\"{text}\"'",) if bare else (),
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
