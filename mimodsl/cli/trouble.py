"""Error messages and exit codes of the command."""

from collections.abc import Iterator

from mimodsl._version import __version__
from mimodsl.cli import terminal
from mimodsl.runtime.signals import Terminated

FAILURE = 1
ABNORMAL = 2

_EXTRAS = {
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
"""Options whose names on the command line differ from those in Python."""

_REPORTED = ("megatron-core", "torch", "attrs", "lark", "rich")
_INTERNAL = "MIMO900"
_VERBOSE_HELP = "help: --verbose shows the traceback"


class UsageError(Exception):
    """A mistake on the command line."""


def report(error: BaseException, *, verbose: bool) -> int:
    """Writes an error to standard error, in a few lines, and returns the exit code."""
    if isinstance(error, BrokenPipeError):  # the reader of our output has closed it
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
    """The notes that callers have added to the error."""
    return getattr(error, "__notes__", [])


def details(error: BaseException) -> str:
    """The traceback, which `--verbose` shows: that of the rank, if a rank failed."""
    import traceback

    of_rank = getattr(error, "details", "")
    return of_rank or "".join(traceback.format_exception(error)).rstrip()


def _explained(error: BaseException) -> tuple[list[str], int]:
    from mimodsl.runtime.errors import NoDevice, RankFailed, RunError, WrongWorld
    from mimodsl.wrong_options import WrongOptions

    if isinstance(error, WrongOptions):
        error = UsageError(error.as_flags(_flag))
    if isinstance(error, UsageError | NoDevice | WrongWorld):
        return [f"error: {error}"], ABNORMAL
    if isinstance(error, RankFailed) and (extra := _extra(error.failure.missing)):
        return [f"error: {error}", _install_help(extra)], ABNORMAL
    if isinstance(error, RunError):
        more = [] if error.explained else [_VERBOSE_HELP]
        return [f"error: {error}", *more], FAILURE
    if isinstance(error, OSError) and error.strerror:
        # Without a file: standard output on a full disk, or too little memory.
        file = "" if error.filename is None else f"{error.filename}: "
        return [f"error: {file}{error.strerror}", *([] if file else [_VERBOSE_HELP])], ABNORMAL
    if isinstance(error, ModuleNotFoundError) and (extra := _extra(error.name)):
        return [
            f"error: this needs {error.name}, which is not installed",
            _install_help(extra),
        ], ABNORMAL
    return list(_internal(error)), ABNORMAL


def _flag(name: str) -> str:
    """The flag for an option of Python: `--save-every` for `save_every`."""
    return f"--{_FLAGS.get(name, name).replace('_', '-')}"


def _extra(module: str | None) -> str | None:
    return _EXTRAS.get((module or "").partition(".")[0])


def _install_help(extra: str) -> str:
    return f"help: install the extra `{extra}`: pip install 'mimodsl[{extra}]'"


def _internal(error: BaseException) -> Iterator[str]:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    yield f"internal error[{_INTERNAL}]: {type(error).__name__}: {error}"
    if frames:
        yield f"  at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}"
    yield "note: this is a bug in mimodsl, not in the spec"
    yield f"help: report it with the spec, the command, the traceback (--verbose), {_versions()}"


def _versions() -> str:
    """The versions for a bug report, without packages that are not installed."""
    import platform

    packages = [f"{name} {version}" for name in _REPORTED if (version := _version(name))]
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return ", ".join([f"mimodsl {__version__}", python, *packages])


def _version(package: str) -> str | None:
    from importlib import metadata  # slow to import, and only reports need it

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
