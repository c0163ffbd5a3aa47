"""The two ways in: from a file and from text."""

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from mimodsl.diagnostics import Diagnostic, in_order
from mimodsl.ir.lower.spec import PARTS, lower
from mimodsl.ir.lower.units import UnitReader
from mimodsl.ir.spec import Spec
from mimodsl.source import SourceFile
from mimodsl.syntax.reader import read_source, source_of


@frozen(kw_only=True)
class Loaded:
    """What became of a spec's text.

    `spec` is `None` exactly where a diagnostic is an error. `draft` is then the spec of what is
    sound nevertheless, so that rules about one grid or one module can still speak; `missing` names
    the kinds of declaration (`grid`, `place`, `module`, `flow`, `schedule`, `train`) of which some
    are not in it. Where there is a spec, `draft` is that spec and nothing is missing.
    """

    spec: Spec | None
    draft: Spec | None
    missing: frozenset[str]
    sources: tuple[SourceFile, ...]
    diagnostics: tuple[Diagnostic, ...]


def load(path: str | Path, overrides: Mapping[str, str] | None = None) -> Loaded:
    """Read a spec's file and what it uses; `overrides` are constants by name, as `--set` gives."""
    source = read_source(Path(path), str(path))
    if isinstance(source, Diagnostic):
        return Loaded(
            spec=None,
            draft=None,
            missing=frozenset(PARTS),
            sources=(),
            diagnostics=(source,),
        )
    return _loaded(source, Path(path), overrides or {})


def parse(text: str, path: str = "<text>", overrides: Mapping[str, str] | None = None) -> Loaded:
    """Read a spec from text. It is treated as the content of `path`, so its `use` is relative to
    that; without a path it can use shipped presets alone."""
    known = None if path == "<text>" else Path(path)
    return _loaded(source_of(text, path), known, overrides or {})


def _loaded(source: SourceFile, path: Path | None, overrides: Mapping[str, str]) -> Loaded:
    reader = UnitReader()
    main = reader.main(source, path)
    lowered = lower(main, overrides, reader.diagnostics.append)
    diagnostics = tuple(in_order(reader.diagnostics))
    failed = any(one.is_error for one in diagnostics)
    return Loaded(
        spec=None if failed else lowered.spec,
        draft=lowered.spec,
        missing=lowered.missing,
        sources=tuple(unit.file.source for unit in main.reach()),
        diagnostics=diagnostics,
    )
