"""Writes the parts of the docs that follow from the code, or checks (`--check`) that they do.

A generated part lies between `<!-- generated: NAME -->` and `<!-- end -->`; pages of reference are
such parts as a whole, and so are the pictures and the JSON Schema of specs.
"""

import argparse
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import limits
import python_api
from drawing import PICTURES
from rich.console import Console

import mimodsl
from mimodsl import ir
from mimodsl._version import MEGATRON_CORE
from mimodsl.checker.rules import RULES
from mimodsl.cli.main import parser
from mimodsl.ir.schema import FieldSchema, schema
from mimodsl.ir.types import Size
from mimodsl.lower.json_schema import json_schema
from mimodsl.planner import sharing
from mimodsl.planner.plan import plan
from mimodsl.planner.sharing import most
from mimodsl.planner.time import ACCELERATORS
from mimodsl.show.numbers import scaled
from mimodsl.show.pages import Page, pages
from mimodsl.show.plan.work import show, show_rank

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
SCHEMA = "docs/spec.schema.json"
_PART = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[a-z_ ]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)
_WIDTH = 96


def main() -> int:
    """Writes or checks every page; 1 where a checked page is stale."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="write nothing, fail where stale")
    check = options.parse_args().check
    stale = [page for page in PAGES if _brought_up_to_date(ROOT / page, check=check)]
    whole = {f"docs/pictures/{name}.svg": draw() for name, draw in PICTURES.items()}
    whole[SCHEMA] = f"{json.dumps(json_schema(ir.KINDS), indent=2)}\n"
    stale += [path for path, text in whole.items() if _is_other(ROOT / path, text, check=check)]
    for page in stale:
        print(f"{page} {'is stale: run `make reference`' if check else 'written'}")
    return int(check and bool(stale))


def _brought_up_to_date(path: Path, *, check: bool) -> bool:
    """Whether a page has changed, or, checked, would."""
    before = path.read_text()
    after = _PART.sub(lambda part: f"{part['begin']}{PARTS[part['name']]()}{part['end']}", before)
    return _is_other(path, after, check=check)


def _is_other(path: Path, text: str, *, check: bool) -> bool:
    """Whether a file holds another text; unless only checked, it then holds this one."""
    other = not path.exists() or path.read_text() != text
    if other and not check:
        path.write_text(text)
    return other


def fields(cls: type, *, without: tuple[str, ...] = ()) -> str:
    """The fields of an IR class as a table."""
    rows = [_row(field) for field in schema(cls) if field.name not in without]
    return "\n".join(
        ["", "| field | value | default | meaning |", "|---|---|---|---|", *rows, "", ""]
    )


def _row(field: FieldSchema) -> str:
    value = field.words.replace(" or `none`", "")
    unit = f" ({field.unit})" if field.unit and field.unit not in field.doc else ""
    default = "required" if field.required else _default(field.default)
    cells = (f"`{field.name}`", value, default, field.doc + unit)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float | str | Size):
        return f"`{value}`"
    return f"`{getattr(value, 'tag', '')} {{ … }}`"


def kinds() -> str:
    """Every kind by role, with its fields."""
    return "".join(_kind(kind) for kind in ir.KINDS.values())


def _kind(kind: type[ir.Kind]) -> str:
    text = (kind.__doc__ or "").strip().split("\n")[0]
    return f"\n### `{kind.keyword}` ({kind.role.value})\n\n{text}\n{fields(kind)}".rstrip() + "\n"


def blocks() -> str:
    """The blocks inside kinds."""
    parts = [
        f"\n### `{cls.tag}`\n\n{(cls.__doc__ or '').strip()}\n{fields(cls)}".rstrip() + "\n"
        for cls in (ir.Attention, ir.Mamba, ir.Moe)
    ]
    return "".join(parts)


_LR_DECAYS: Final = (*(ir.ConstantLr, ir.LinearLr, ir.CosineLr, ir.InverseSquareRootLr, ir.WsdLr),)


def train() -> str:
    """The fields of `train` and of its blocks."""
    parts = [fields(ir.Train).rstrip()]
    parts += [
        f"\n\n### `{cls.tag}`\n\n{(cls.__doc__ or '').strip()}\n{fields(cls).rstrip()}"
        for cls in (ir.AdamW, *_LR_DECAYS, ir.Ddp)
    ]
    return "".join(parts) + "\n\n"


def commands() -> str:
    """The help of the command and of every subcommand."""
    top = parser()
    helps = [("mimodsl", top), *(_subcommands(top))]
    return (
        "\n"
        + "\n\n".join(f"## `{name}`\n\n```text\n{_help(command)}\n```" for name, command in helps)
        + "\n\n"
    )


def _subcommands(top: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in top._actions:  # noqa: SLF001 - argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, command in action.choices.items():
                yield f"mimodsl {name}", command


def _help(command: argparse.ArgumentParser) -> str:
    formatter = command.formatter_class

    def wide(prog: str) -> argparse.HelpFormatter:
        return formatter(prog, width=_WIDTH)

    command.formatter_class = wide  # type: ignore[assignment]
    return command.format_help().strip()


def rules() -> str:
    """A section for every code."""
    sections = (f"## {page.code}: {page.title}\n\n{_page(page)}" for page in pages().values())
    return "\n" + "\n\n".join(sections) + "\n\n"


def _page(page: Page) -> str:
    article = "An" if page.severity == "error" else "A"
    cost = f"{article} {page.severity}; without it, {page.cost}." if page.cost else ""
    seen = f"On the cluster: {page.seen}" if page.seen else ""
    example = f"```mimo example\n{page.example.rstrip()}\n```" if page.example else ""
    help_lines = [line for found in page.diagnostics() for line in found.help] if example else []
    helps = "\n".join(f"- help: {line}" for line in help_lines)
    mirrors = ", ".join(f"`{place}`" for place in page.mirrors)
    source = f"From megatron-core {MEGATRON_CORE}: {mirrors}." if mirrors else ""
    parts = [page.why.strip(), cost, seen, example, helps, source]
    return "\n\n".join(filter(None, parts))


def _anchor(page: Page) -> str:
    return re.sub(r"[^a-z0-9 -]", "", f"{page.code}: {page.title}".lower()).replace(" ", "-")


def demo_spec() -> str:
    """The spec that `make demo` trains."""
    return f"```mimo\n{(ROOT / 'specs' / 'nemotron_vlm.mimo').read_text()}```\n"


def matrix() -> str:
    """What is tested on real ranks, a row a case."""
    sys.path.insert(0, str(ROOT))
    from tests.e2e.matrix import CASES

    head = ["", "| | case | ranks | spec or test | status |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(_case(case))} |" for case in CASES), "", ""])


def _case(case: Any) -> tuple[str, ...]:
    number = str(getattr(case, "number", None) or "")
    return number, case.title, str(case.ranks or "none"), _path(case.shown), _status(case.status)


def _path(path: str) -> str:
    return f"[`{Path(path).name}`](../{path})"


def _status(status: str) -> str:
    """A status that is the code of a rule leads to what is said of it."""
    title = next((f"{rule.code}: {rule.title}" for rule in RULES if rule.code == status), None)
    if title is None:
        return status
    anchor = re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
    return f"refused: [{status}](rules.md#{anchor})"


def work() -> str:
    """What a step of the demo takes, and what of that a rank of the language model."""
    planned = plan(mimodsl.load(ROOT / "specs" / "nemotron_vlm.mimo"))
    out = io.StringIO()
    console = Console(file=out, width=_WIDTH)
    show(planned, console)
    show_rank(planned, planned.rank(4), console)
    return f"```text\n{out.getvalue().strip()}\n```\n"


def gpus() -> str:
    """What GPUs do at most, with the sources."""
    columns = "bf16, fp16", "tf32", "memory", "bandwidth", "NVLink, each way", "network, each way"
    rows = [f"| | {' | '.join(columns)} | from |", f"|---|{'---:|' * len(columns)}---|"]
    for one in ACCELERATORS.values():
        flops = (f"{scaled(number)}FLOP/s" for number in (one.half, one.single))
        size = f"{one.memory / 1e9:.0f} GB"
        rates = (f"{scaled(number)}B/s" for number in (one.bandwidth, one.link, one.network))
        rows.append(f"| `{one.name}` | {' | '.join((*flops, size, *rates))} | {one.source} |")
    return "\n".join(("", *rows, "", ""))


def communicators() -> str:
    """How many communicators a rank of each shipped spec is in."""
    rows = ["| spec | ranks | a group a name | shared |", "|---|---:|---:|---:|"]
    for path in sorted((ROOT / "specs").glob("*.mimo")):
        planned = plan(mimodsl.load(path))
        link = f"[`{path.name}`](../specs/{path.name})"
        counts = f"{most(planned, share=False)} | {most(planned)}"
        rows.append(f"| {link} | {planned.world} | {counts} |")
    return "\n".join(("", *rows, "", ""))


def traffic() -> str:
    """The kinds of traffic, and the names that carry them."""
    rows = ["| traffic | names | |", "|---|---|---|"]
    for kind, words in sharing.TRAFFIC.items():
        names = ", ".join(f"`{name}`" for name in sharing.names_of(kind)) or "axes of other views"
        rows.append(f"| {kind.value} | {names} | {words} |")
    return "\n".join(("", *rows, "", ""))


def apart() -> str:
    """The kinds of traffic that run at once."""
    rows = ["| traffic | when | why |", "|---|---|---|"]
    for one in sharing.APART:
        first, second = one.kinds
        rows.append(f"| {first.value}, {second.value} | {one.when.value} | {one.why} |")
    return "\n".join(("", *rows, "", ""))


PARTS: dict[str, Callable[[], str]] = {
    "demo spec": demo_spec,
    "work": work,
    "gpus": gpus,
    "matrix": matrix,
    "communicators": communicators,
    "traffic": traffic,
    "apart": apart,
    "kinds": kinds,
    "blocks": blocks,
    "flow": lambda: fields(ir.Flow, without=("path",)),
    "schedule": lambda: fields(ir.Schedule, without=("kind",)),
    "train": train,
    "commands": commands,
    "rules": rules,
    "limits": limits.counts,
    "limits that stay": limits.stays,
    "limits told": lambda: limits.told(lambda code: _anchor(pages()[code])),
    "catalogue": lambda: limits.areas(lambda code: _anchor(pages()[code])),
    "python": python_api.page,
}


if __name__ == "__main__":
    sys.exit(main())
