"""The two ways in: from a file and from text."""

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from mimodsl.diagnostics import Diagnostic, in_order
from mimodsl.ir.draft import Draft
from mimodsl.ir.lower.spec import lower
from mimodsl.ir.lower.units import UnitReader
from mimodsl.ir.node import Origin
from mimodsl.ir.spec import Spec
from mimodsl.source import SourceFile, Span
from mimodsl.syntax.reader import read_source, source_of


@frozen(kw_only=True)
class Loaded:
    """What became of a spec's text.

    `spec` is `None` exactly where a diagnostic is an error; `draft` is what is sound nevertheless.
    """

    spec: Spec | None
    draft: Draft
    sources: tuple[SourceFile, ...]
    diagnostics: tuple[Diagnostic, ...]


def load(path: str | Path, overrides: Mapping[str, str] | None = None) -> Loaded:
    """Read a spec's file and what it uses; `overrides` are constants by name, as `--set` gives."""
    source = read_source(Path(path), str(path))
    if isinstance(source, Diagnostic):
        return Loaded(spec=None, draft=Draft(), sources=(), diagnostics=(source,))
    return _loaded(source, Path(path), overrides or {})


def parse(text: str, path: str = "<text>", overrides: Mapping[str, str] | None = None) -> Loaded:
    """Read a spec from text. It is treated as the content of `path`, so its `use` is relative to
    that; without a path it can use shipped presets alone."""
    known = None if path == "<text>" else Path(path)
    return _loaded(source_of(text, path), known, overrides or {})


def _loaded(source: SourceFile, path: Path | None, overrides: Mapping[str, str]) -> Loaded:
    reader = UnitReader()
    main = reader.main(source, path)
    draft = lower(main, overrides, reader.diagnostics.append)
    diagnostics = tuple(in_order(reader.diagnostics))
    spec = None if any(one.is_error for one in diagnostics) else _whole(draft, source)
    return Loaded(
        spec=spec,
        draft=draft if spec is None else Draft.of(spec),
        sources=tuple(unit.file.source for unit in main.reach()),
        diagnostics=diagnostics,
    )


def _whole(draft: Draft, source: SourceFile) -> Spec:
    assert draft.place is not None
    assert draft.schedule is not None
    assert draft.train is not None
    return Spec(
        grids=draft.grids,
        place=draft.place,
        modules=draft.modules,
        flows=draft.flows,
        schedule=draft.schedule,
        train=draft.train,
        origin=Origin(span=Span(source, 0, len(source.text))),
    )
