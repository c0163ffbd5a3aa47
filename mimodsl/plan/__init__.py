"""The plan of a spec: ranks, groups, roles, bridges and the schedule, with no torch."""

from mimodsl.plan.bridges import BridgePlan, BridgeRole, Direction
from mimodsl.plan.grids import BASE_VIEW, GridPlan, ViewPlan
from mimodsl.plan.groups import GroupKind, GroupPlan
from mimodsl.plan.plan import Layout, Plan, plan
from mimodsl.plan.ranks import Factorization, Groups, Members, Ranks

__all__ = [
    "BASE_VIEW",
    "BridgePlan",
    "BridgeRole",
    "Direction",
    "Factorization",
    "GridPlan",
    "GroupKind",
    "GroupPlan",
    "Groups",
    "Layout",
    "Members",
    "Plan",
    "Ranks",
    "ViewPlan",
    "plan",
]
