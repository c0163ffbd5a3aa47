"""The two laws between checker and megatron-core, and a tally of how often each was tried.

A. What the checker accepts is constructed, by megatron-core's own classes, on a rank of every role;
   of some, each module runs its first forward pass, as far as shapes alone decide.
B. What it rejects by a rule that says so (`Cost.RAISES`) is refused there.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random
from typing import Final

from attrs import evolve, field, fields, frozen

from mimodsl.checker.rule import Cost
from mimodsl.checker.rules import RULES
from mimodsl.checker.runner import CRASH, check
from mimodsl.diagnostics import Severity
from mimodsl.ir import Spec
from tests.differential.megatron import Refusal, refusal, refusal_unchecked
from tests.differential.mutations import mutated
from tests.differential.specs import LARGEST_WORLD, sound_spec

RAISING: Final = frozenset(rule.code for rule in RULES if rule.cost is Cost.RAISES)

OUT_OF_REACH: Final = {
    "MIMO408": "torch refuses the world before there is a grid",
    "MIMO605": "the builder hands megatron-core one language model, under the one key it knows; "
    "without any there is nothing to hand",
}
"""Rules whose mistake never gets as far as megatron-core, and why."""

REFUSED_FIRST: Final = {
    "MIMO731": "builder/program.py says plainly that local kernels have no grouped product",
}
"""Rules that the builder may apply itself, in front of megatron-core, and why."""

SHARE_MUTATED: Final = 0.75
FORWARD_EVERY: Final = 4


@frozen(kw_only=True)
class Case:
    """A spec and all that was found of it; `seed` makes it again."""

    seed: int
    spec: Spec
    errors: frozenset[str]
    refusal: Refusal | None

    @property
    def forward(self) -> bool:
        """Whether the forward pass, which takes longer than building, is tried, too."""
        return self.seed % FORWARD_EVERY == 0

    @property
    def refusing(self) -> frozenset[str]:
        """The rules that say megatron-core refuses this; none beside mistakes of another kind.

        What those keep from being built at all, nobody refuses.
        """
        reaching = self.errors - OUT_OF_REACH.keys()
        return self.errors if self.errors == reaching & RAISING else frozenset()

    @property
    def disagreement(self) -> str | None:
        """Which law the case breaks, in words."""
        if CRASH in self.errors:
            return "a rule crashed"
        if not self.errors:
            refused = self.refusal and not self.refusal.missing
            return f"accepted, and refused: {self.refusal}" if refused else None
        if not self.refusing:
            return None
        rules = ", ".join(sorted(self.errors))
        if self.refusal is None:
            return f"rejected by {rules}, and constructed"
        if self.refusal.ours and not self.errors & REFUSED_FIRST.keys():
            return f"rejected by {rules}, and refused by mimodsl: {self.refusal}"
        return None

    def is_like(self, other: "Case") -> bool:
        """Whether two cases disagree in the same way: over the same rules, at the same line."""
        return self.disagreement is not None and self._kind == other._kind

    @property
    def _kind(self) -> tuple[frozenset[str], str | None]:
        return self.errors, self.refusal and self.refusal.where


@frozen(kw_only=True)
class Tally:
    """How many cases there were of each kind.

    Of those `constructed`, `run` also ran forward. `refused` counts cases, `hits` the rules that
    rejected them. `others` had mistakes of another kind, which no law is about; `unbuilt` lacked a
    package that is not installed here.
    """

    cases: int = 0
    constructed: int = 0
    run: int = 0
    refused: int = 0
    others: int = 0
    unbuilt: int = 0
    hits: Counter[str] = field(factory=Counter)
    disagreements: tuple[Case, ...] = ()

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            **{
                one.name: getattr(self, one.name) + getattr(other, one.name)
                for one in fields(Tally)
            }
        )

    @property
    def unhit(self) -> frozenset[str]:
        """Rules of law B that no case was about."""
        return RAISING - self.hits.keys() - OUT_OF_REACH.keys()

    def __str__(self) -> str:
        hits = ", ".join(f"{code} {self.hits[code]}" for code in sorted(self.hits))
        return (
            f"{self.cases} specs: {self.constructed} accepted and constructed "
            f"({self.run} run forward), "
            f"{self.refused} rejected and refused, {self.others} rejected for another reason, "
            f"{self.unbuilt} in want of a package, {len(self.disagreements)} disagreements\n"
            f"refused, by rule: {hits}"
        )


def spec_of(seed: int) -> Spec:
    """The spec of a seed: one that should be sound, or one with something changed."""
    rng = Random(seed)
    spec = sound_spec(rng)
    if rng.random() < SHARE_MUTATED:
        changed = mutated(rng, spec)
        return changed if changed.world <= 2 * LARGEST_WORLD else spec
    return spec


def errors_of(spec: Spec) -> frozenset[str]:
    return frozenset(one.code for one in check(spec) if one.severity is Severity.ERROR)


def judged(seed: int, spec: Spec) -> Case:
    """A spec checked, and built where a law has something to say about it."""
    case = Case(seed=seed, spec=spec, errors=errors_of(spec), refusal=None)
    if not case.errors:
        return evolve(case, refusal=refusal(spec, forward=case.forward))
    return evolve(case, refusal=refusal_unchecked(spec)) if case.refusing else case


def tally(seeds: Iterable[int]) -> Tally:
    """Every seed's case, counted. Needs `meta_device.activate`."""
    return sum((_counted(judged(seed, spec_of(seed))) for seed in seeds), Tally())


def _counted(case: Case) -> Tally:
    if case.disagreement:
        return Tally(cases=1, disagreements=(case,))
    unbuilt = not case.errors and case.refusal is not None
    return Tally(
        cases=1,
        constructed=not case.errors and not unbuilt,
        run=not case.errors and not unbuilt and case.forward,
        refused=bool(case.refusing),
        others=bool(case.errors) and not case.refusing,
        unbuilt=unbuilt,
        hits=Counter(case.refusing),
    )


def seeds_of(rules: frozenset[str], seeds: range) -> Iterator[int]:
    """The first seed of each rule whose case it alone rejects, as far as there are some."""
    missing = set(rules)
    for seed in seeds:
        if not missing:
            return
        if (errors := errors_of(spec_of(seed))) <= RAISING and errors & missing:
            missing -= errors
            yield seed
