"""The axes of a grid that Megatron knows, by name."""

from typing import Final

from mimodsl.ir.node import Keyword


class AxisName(Keyword):
    """An axis along which ranks differ.

    A grid's dense view factors its ranks into tp · cp · dp · pp, and its expert view factors the
    same ranks into etp · ep · edp · pp. Both share the pipeline stages, so within a stage
    tp · cp · dp = etp · ep · edp.
    """

    TP = "tp"  # tensor parallel: a layer's weights are split
    CP = "cp"  # context parallel: a sequence's tokens are split
    DP = "dp"  # data parallel: replicas work on different samples
    PP = "pp"  # pipeline parallel: layers are split into stages
    ETP = "etp"  # expert tensor parallel: each expert's weights are split
    EP = "ep"  # expert parallel: whole experts are spread
    EDP = "edp"  # expert data parallel: replicas of the same experts


TP: Final[str] = AxisName.TP
CP: Final[str] = AxisName.CP
DP: Final[str] = AxisName.DP
PP: Final[str] = AxisName.PP
ETP: Final[str] = AxisName.ETP
EP: Final[str] = AxisName.EP
EDP: Final[str] = AxisName.EDP
