"""The names that `mimodsl.plan` offers."""

from mimodsl.plan.bridges import BridgePlan, BridgeRole, Direction
from mimodsl.plan.grids import BASE_VIEW, GridPlan, ViewPlan
from mimodsl.plan.groups import GroupKind, GroupPlan
from mimodsl.plan.ranks import Factorization, Groups, Members, Ranks
from mimodsl.plan.roles import ModuleRole
from mimodsl.plan.schedule import Pass, PassKind, StageSchedule
from mimodsl.plan.sharing import CommunicatorPlan, communicators
from mimodsl.plan.whole import Crossing, Layout, Plan, RankPlan, Summary, plan

__all__ = [
    "BASE_VIEW",
    "BridgePlan",
    "BridgeRole",
    "CommunicatorPlan",
    "Crossing",
    "Direction",
    "Factorization",
    "GridPlan",
    "GroupKind",
    "GroupPlan",
    "Groups",
    "Layout",
    "Members",
    "ModuleRole",
    "Pass",
    "PassKind",
    "Plan",
    "RankPlan",
    "Ranks",
    "StageSchedule",
    "Summary",
    "ViewPlan",
    "communicators",
    "plan",
]
