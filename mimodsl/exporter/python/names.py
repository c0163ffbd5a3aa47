"""What no script can have: names that Python does not take, and kinds that it cannot import."""

from collections.abc import Iterator

from mimodsl.ir.package import CustomKind
from mimodsl.planner.plan import Plan


def insist_on_names(plan: Plan) -> None:
    """Refuse what no script can have. Raises `ValueError`."""
    for named in (*plan.spec.modules, *plan.grids):
        if not named.name.isidentifier():
            raise ValueError(f"{named.name!r} is no name in Python, where a script needs one")
    for kind in custom_kinds(plan):
        cls = type(kind)
        if cls.__module__ == "__main__" or "." in cls.__qualname__:
            named = f"{cls.__module__}:{cls.__qualname__}"
            raise ValueError(f"{kind.keyword} is {named}, which no script can import")


def custom_kinds(plan: Plan) -> Iterator[CustomKind]:
    """The kinds of other packages, a module at a time."""
    for module in plan.spec.modules:
        if isinstance(module.kind, CustomKind):
            yield module.kind


def packages(plan: Plan) -> tuple[str, ...]:
    """The packages of those kinds, in order and once each, this one among them where any is."""
    named = dict.fromkeys(type(kind).__module__.partition(".")[0] for kind in custom_kinds(plan))
    return (*named, "mimodsl") if named else ()
