"""A whole script: its sections in order, and the definitions and imports that they need."""

import ast
import builtins
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from mimodsl._version import MEGATRON_CORE, __version__
from mimodsl.exporter.python import modules, topology, training
from mimodsl.exporter.python.code import WIDTH, text
from mimodsl.exporter.python.data import data
from mimodsl.exporter.python.packages import package_imports, packages
from mimodsl.exporter.python.resolved import Resolved
from mimodsl.exporter.python.source import definition, imports, is_defined
from mimodsl.exporter.target import Launch

_OWN_IMPORTS: Final = {
    "Any": "from typing import Any",
    "Iterator": "from collections.abc import Iterator",
    "NamedTuple": "from typing import NamedTuple",
    "argparse": "import argparse",
    "os": "import os",
    "partial": "from functools import partial",
    "forward_backward_no_pipelining": (
        "from megatron.core.pipeline_parallel.schedules import forward_backward_no_pipelining"
    ),
    "forward_backward_pipelining_without_interleaving": (
        "from megatron.core.pipeline_parallel.schedules import "
        "forward_backward_pipelining_without_interleaving"
    ),
}


def script(of: Resolved, launch: Launch) -> str:
    """The text of a script that trains the spec under torchrun."""
    sections = _sections(of, launch)
    layers = _closure("\n\n".join(sections.values()))
    if kernels := "\n\n\n".join(definition(name).rstrip() for name in layers):
        sections["Layers that megatron-core lacks"] = kernels
    body = "\n\n\n".join(
        f"# {'-' * 4} {title} {'-' * (WIDTH - 8 - len(title))}\n\n{_spaced(section)}"
        for title, section in _ordered(sections)
    )
    body = re.sub(r"\n{4,}", "\n\n\n", body)
    taken = _imports(body, package_imports(of))
    return f"{_head(of, launch)}\n{taken}\n\n{_values(of)}\n\n\n{body}\n"


def _spaced(section: str) -> str:
    """A section after its title, from which definitions keep two lines away."""
    section = section.strip("\n")
    return f"\n{section}" if section.startswith(("def ", "class ", "@")) else section


def _sections(of: Resolved, launch: Launch) -> dict[str, str]:
    sections = {
        "Grids: which ranks run what": topology.grids(of),
        "Process groups": topology.groups(of),
        "Configs": modules.configs(of),
    }
    for flow in of.flows:
        name = f"`{flow.encoder}`" + (f" and `{flow.projector}`" if flow.projector else "")
        sections[f"Modules: {name}"] = modules.modality(of, flow)
    return sections | {
        f"Modules: `{of.spec.language.name}`": modules.language(of),
        "The model": training.model(of),
        "The optimizer": training.optimizer(of),
        "The schedule": training.schedule(of),
        "Synthetic samples, with something to learn": data(of),
        "The run": training.loop(of, launch.steps),
    }


def _ordered(sections: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Layers stand before the modules that are made of them."""
    layers = [item for item in sections.items() if item[0].startswith("Layers")]
    for title, section in sections.items():
        if title.startswith("Layers"):
            continue
        yield title, section
        if title == "Configs":
            yield from layers


def _closure(body: str) -> list[str]:
    """What the builder defines of names that a body uses and does not define, and of theirs.

    What a name needs comes before it.
    """
    found: list[str] = []

    def visit(source: str, having: set[str]) -> None:
        for name in _used(source):
            if name not in having and name not in found and is_defined(name):
                needed = definition(name)
                visit(needed, having | {name})
                found.append(name)

    visit(body, _made(body))
    return found


def _used(source: str) -> list[str]:
    """The names that are read anywhere, in order and once each."""
    names = [node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(names))


def _made(source: str) -> set[str]:
    """The names that are assigned or defined anywhere."""
    made: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(name, ast.Store()) | ast.FunctionDef(name) | ast.ClassDef(name):
                made.add(name)
            case ast.arg(name):
                made.add(name)
            case _:
                pass
    return made


def _imports(body: str, theirs: Mapping[str, str]) -> str:
    """Import statements for what a body uses and does not make, in three blocks."""
    known = {**imports(), **_OWN_IMPORTS, **theirs}
    having = _made(body) | set(dir(builtins))
    wanted = ["torch", *_used(body)]
    lines = {known[name] for name in wanted if name in known and name not in having}
    plain: list[tuple[str, str]] = []
    taken = defaultdict[str, set[str]](set)
    for line in lines:
        if match := re.fullmatch(r"from (\S+) import (.+)", line):
            taken[match[1]].add(match[2])
        else:
            plain.append((line.split()[1], line))
    every = plain + [(module, _from(module, names)) for module, names in taken.items()]
    others = {"torch", "megatron"} | {line.split()[1].partition(".")[0] for line in theirs.values()}
    blocks: dict[bool, list[str]] = {False: [], True: []}
    for module, line in sorted(every, key=lambda one: (one[1].startswith("from"), one[0])):
        blocks[module.partition(".")[0] in others].append(line)
    return "\n\n".join("\n".join(block) for block in blocks.values() if block)


def _from(module: str, names: set[str]) -> str:
    ordered = sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in ordered), ")"])


def _head(of: Resolved, launch: Launch) -> str:
    ranks = of.spec.world
    source = f" from {_quotable(launch.source)}" if launch.source else ""
    name = _quotable(launch.name)
    theirs = packages(of)
    needed = "megatron-core alone"
    if theirs:
        needed = f"{', '.join(['megatron-core', *theirs[:-1]])} and {theirs[-1]}"
    said = (
        f"Written by mimodsl {__version__}{source}, for megatron-core {MEGATRON_CORE}, to whose "
        "files comments refer. All process groups come from grids; `parallel_state` is not "
        "initialised."
    )
    return "\n".join(
        [
            f'"""Trains {name} on {ranks} ranks with {needed}.',
            "",
            f"    torchrun --nproc-per-node {ranks} {name}.py --steps {launch.steps}",
            "",
            *textwrap.wrap(said, WIDTH, break_long_words=False, break_on_hyphens=False),
            '"""',
            "",
        ]
    )


def _quotable(words: str) -> str:
    """Text that neither ends a docstring nor means anything else in it."""
    plain = "".join(letter if letter.isprintable() else " " for letter in words)
    return plain.replace("\\", "/").replace('"', "'")


def _values(of: Resolved) -> str:
    schedule = of.spec.schedule
    dtype = text(of.builder.configs.DTYPES[of.spec.train.precision])
    return "\n".join(
        [
            f"SEED = {of.spec.train.seed}",
            f"DTYPE = {dtype}",
            f"SEQUENCE = {schedule.sequence}  # tokens a sample",
            f"MICRO_BATCH = {schedule.micro_batch}  # samples a microbatch, per replica",
            f"MICROBATCHES = {schedule.microbatches}  # a step",
        ]
    )
