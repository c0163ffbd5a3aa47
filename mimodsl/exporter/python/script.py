"""A whole script: the program's literals, and the definitions that build and train it."""

import textwrap
from collections import defaultdict
from collections.abc import Iterable

from mimodsl._version import MEGATRON_CORE, __version__
from mimodsl.exporter.python.definitions import Copied, File, Import
from mimodsl.exporter.python.literals import WIDTH
from mimodsl.exporter.python.names import insist_on_names, packages
from mimodsl.exporter.python.program import program_function
from mimodsl.exporter.target import Launch
from mimodsl.ir.train import Kernels
from mimodsl.planner.plan import Plan, with_kernels
from mimodsl.planner.programs import program

_RUN = "mimodsl.runtime.script"
"""The file whose `main` a script calls."""


def script(plan: Plan, launch: Launch) -> str:
    """The text of a script that trains a plan's spec under torchrun.

    Raises:
        ValueError: for what no script can have.
    """
    insist_on_names(plan)
    values, names = program_function(program(_with_kernels(plan)))
    copied = Copied()
    for name in names:
        if name.module.partition(".")[0] != "torch":
            copied.want(name.module, name.name)
    copied.want(_RUN, "main")
    copied.add_import(Import(module="torch", known="torch"))
    theirs = packages(plan)
    parts = [
        _head(plan, launch, theirs),
        _imports(copied.imports.values(), theirs),
        f"\n{values}",
        *(f"\n{_title(file)}\n\n\n{source}" for file, source in copied.sections()),
        f'\nif __name__ == "__main__":\n    main(program(), steps={launch.steps})\n',
    ]
    return "\n\n".join(parts)


def _with_kernels(plan: Plan) -> Plan:
    """A plan whose kernels are resolved: `auto` is local, which needs megatron-core alone."""
    kernels = plan.spec.train.kernels
    return with_kernels(plan, Kernels.LOCAL if kernels is Kernels.AUTO else kernels)


def _title(file: File) -> str:
    """A heading with the place of what is copied, and what its file is about."""
    place = file.module.replace(".", "/") + ".py"
    about = textwrap.wrap(file.about, WIDTH - 2)
    rule = f"# ---- {place} {'-' * (WIDTH - 8 - len(place))}"
    return "\n".join([rule, *(f"# {line}" for line in about)])


def _imports(imports: Iterable[Import], theirs: tuple[str, ...]) -> str:
    """Import statements, in two blocks: the standard library, and packages."""
    plain = sorted(str(each) for each in imports if not each.name)
    taken = defaultdict[str, list[Import]](list)
    for each in imports:
        if each.name:
            taken[each.module].append(each)
    blocks: dict[bool, list[str]] = {False: [], True: []}
    for line in plain:
        blocks[_is_package(line.split()[1], theirs)].append(line)
    for module in sorted(taken):
        blocks[_is_package(module, theirs)].append(_from(module, taken[module]))
    return "\n\n".join("\n".join(block) for block in blocks.values() if block)


def _is_package(module: str, theirs: tuple[str, ...]) -> bool:
    return module.partition(".")[0] in {"torch", "megatron", *theirs}


def _from(module: str, imports: Iterable[Import]) -> str:
    """One statement: constants first, then classes, then functions, as formatters sort them."""
    ordered = sorted(imports, key=lambda each: _order(each.name))
    words = [str(each).rpartition(" import ")[2] for each in ordered]
    line = f"from {module} import {', '.join(words)}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"from {module} import (", *(f"    {word}," for word in words), ")"])


def _order(name: str) -> tuple[bool, bool, str]:
    is_constant = name.isupper() and len(name) > 1
    return not is_constant, not name[0].isupper(), name


def _head(plan: Plan, launch: Launch, theirs: tuple[str, ...]) -> str:
    ranks = plan.spec.world
    source = f" from {_quotable(launch.source)}" if launch.source else ""
    name = _quotable(launch.name)
    needed = "megatron-core alone"
    if theirs:
        needed = f"{', '.join(['megatron-core', *theirs[:-1]])} and {theirs[-1]}"
    about = (
        f"Written by mimodsl {__version__}{source}, for megatron-core {MEGATRON_CORE}, to whose "
        "files comments refer. `program` holds what the spec says; everything else is defined in "
        "mimodsl, in the file that the heading names. All process groups come from grids; "
        "`parallel_state` is not initialised."
    )
    return "\n".join(
        [
            f'"""Trains {name} on {ranks} ranks with {needed}.',
            "",
            f"    torchrun --nproc-per-node {ranks} {name}.py --steps {launch.steps}",
            "",
            *textwrap.wrap(about, WIDTH, break_long_words=False, break_on_hyphens=False),
            '"""',
        ]
    )


def _quotable(words: str) -> str:
    """Text that neither ends a docstring nor means anything else in it."""
    plain = "".join(letter if letter.isprintable() else " " for letter in words)
    return plain.replace("\\", "/").replace('"', "'")
