"""`mimodsl explain`: explains the code of a diagnostic, or lists all codes."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from mimodsl.cli import options

if TYPE_CHECKING:
    from mimodsl.show.pages import Page


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "explain",
        _run,
        help="explain the code of a diagnostic",
        epilog="For example: mimodsl explain MIMO301",
    )
    parser.add_argument(
        "code",
        metavar="CODE",
        type=str.upper,
        nargs="?",
        help="a code; without one, the command lists all codes",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _run(args: argparse.Namespace) -> int:
    from mimodsl.show.pages import package_pages, page_of, pages

    if args.code is None:
        _list([*pages().values(), *package_pages().values()], as_json=args.json)
    elif page := page_of(args.code):
        _show(page, as_json=args.json)
    else:
        _refuse(args.code, [*pages(), *package_pages()])
    return 0


def _list(all_pages: "list[Page]", *, as_json: bool) -> None:
    from mimodsl.cli import terminal

    if as_json:
        terminal.print_json([{"code": page.code, "title": page.title} for page in all_pages])
        return
    for page in all_pages:
        print(f"{page.code}  {page.title}")


def _show(page: "Page", *, as_json: bool) -> None:
    from mimodsl.cli import terminal
    from mimodsl.show import pages

    if as_json:
        terminal.print_json(pages.document(page))
    else:
        print(pages.text(page, color=terminal.colorful(sys.stdout)))


def _refuse(code: str, known: list[str]) -> None:
    from mimodsl.cli import trouble
    from mimodsl.diagnostics.suggest import unknown

    otherwise = "without a code, explain lists all"
    raise trouble.UsageError(unknown("code", code, known, otherwise))
