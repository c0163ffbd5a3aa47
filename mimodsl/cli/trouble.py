"""What the command says, and exits with, when it can't do what it was asked for."""

from collections.abc import Iterator

from mimodsl._version import __version__
from mimodsl.cli import terminal
from mimodsl.runtime.signals import Terminated

FAILURE = 1
ABNORMAL = 2

_EXTRA_OF = {
    "torch": "build",
    "megatron": "build",
    "einops": "build",
    "psutil": "build",
    "mamba_ssm": "gpu",
    "causal_conv1d": "gpu",
    "transformer_engine": "te",
    "pygls": "lsp",
    "lsprotocol": "lsp",
    "tensorboard": "log",
}
_FLAGS = {"share_groups": "no-shared-groups", "name": "job-name"}
"""Options that the command line calls otherwise than Python does."""

_REPORTED = ("megatron-core", "torch", "attrs", "lark", "rich")
_INTERNAL = "MIMO900"
_HOW_TO_SEE = "help: --verbose shows the traceback"


class UsageError(Exception):
    """The command line asks for something that isn't there."""


def report(error: BaseException, *, verbose: bool) -> int:
    """Says on standard error what went wrong, in few lines, and returns the exit code."""
    if isinstance(error, BrokenPipeError):  # whoever read our output has left
        terminal.drop_output()
        return FAILURE
    if isinstance(error, KeyboardInterrupt | Terminated):
        by = f" by {error.signal.name}" if isinstance(error, Terminated) else ""
        terminal.complain(f"interrupted{by}", *_notes(error))
        return FAILURE
    (first, *rest), code = _explained(error)
    terminal.complain(first, *_notes(error), *rest, *([details(error)] if verbose else ()))
    return code


def _notes(error: BaseException) -> list[str]:
    """What whoever knew more has added to the error."""
    return getattr(error, "__notes__", [])


def details(error: BaseException) -> str:
    """What `--verbose` adds: the traceback, a rank's own where a rank failed."""
    import traceback

    of_ranks = getattr(error, "details", "")
    return of_ranks or "".join(traceback.format_exception(error)).rstrip()


def _explained(error: BaseException) -> tuple[list[str], int]:
    from mimodsl.runtime.errors import NoDevice, RankFailed, RunError, WrongWorld
    from mimodsl.wrong_options import WrongOptions

    if isinstance(error, WrongOptions):
        error = UsageError(error.as_flags(_flag))
    if isinstance(error, UsageError | NoDevice | WrongWorld):
        return [f"error: {error}"], ABNORMAL
    if isinstance(error, RankFailed) and (extra := _extra(error.failure.missing)):
        return [f"error: {error}", _how_to_get(extra)], ABNORMAL
    if isinstance(error, RunError):
        more = [] if error.explained else [_HOW_TO_SEE]
        return [f"error: {error}", *more], FAILURE
    if isinstance(error, OSError) and error.strerror:
        # Without a file it is standard output, on a disk that is full, or a lack of memory.
        file = "" if error.filename is None else f"{error.filename}: "
        return [f"error: {file}{error.strerror}", *([] if file else [_HOW_TO_SEE])], ABNORMAL
    if isinstance(error, ModuleNotFoundError) and (extra := _extra(error.name)):
        return [
            f"error: this needs {error.name}, which is not installed",
            _how_to_get(extra),
        ], ABNORMAL
    return list(_internal(error)), ABNORMAL


def _flag(name: str) -> str:
    """How the command line spells an option of Python: `--save-every` for `save_every`."""
    return f"--{_FLAGS.get(name, name).replace('_', '-')}"


def _extra(module: str | None) -> str | None:
    return _EXTRA_OF.get((module or "").partition(".")[0])


def _how_to_get(extra: str) -> str:
    return f"help: the extra `{extra}` brings it: pip install 'mimodsl[{extra}]'"


def _internal(error: BaseException) -> Iterator[str]:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    yield f"internal error[{_INTERNAL}]: {type(error).__name__}: {error}"
    if frames:
        yield f"  at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}"
    yield "note: this is a bug in mimodsl, whatever the spec says"
    yield f"help: report it with the spec, the command, the traceback (--verbose) and: {_about()}"


def _about() -> str:
    """The versions that matter to a report; packages that are not installed are left out."""
    import platform

    packages = [f"{name} {version}" for name in _REPORTED if (version := _version(name))]
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return ", ".join([f"mimodsl {__version__}", python, *packages])


def _version(package: str) -> str | None:
    from importlib import metadata  # slow, and for reports alone

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
