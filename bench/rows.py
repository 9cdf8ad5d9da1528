"""All rows by id, in the order in which they are listed."""

from __future__ import annotations

from bench.harness import Row
from bench.rows_core import CORE_ROWS
from bench.rows_dp import DP_ROWS
from bench.rows_dp_plans import DP_PLAN_ROWS
from bench.rows_dp_tables import DP_TABLE_ROWS
from bench.rows_embed import EMBED_ROWS
from bench.rows_frameworks import FRAMEWORK_ROWS
from bench.rows_he import HE_ROWS
from bench.rows_mpc import MPC_ROWS
from bench.rows_mpc_share import MPC_SHARE_ROWS
from bench.rows_oneshot import ONESHOT_ROWS
from bench.rows_secagg import SECAGG_ROWS
from bench.rows_zk import ZK_ROWS

__all__ = ["ROWS"]

_ALL = (
    *SECAGG_ROWS,
    *CORE_ROWS,
    *DP_ROWS,
    *DP_TABLE_ROWS,
    *DP_PLAN_ROWS,
    *ZK_ROWS,
    *HE_ROWS,
    *ONESHOT_ROWS,
    *MPC_SHARE_ROWS,
    *MPC_ROWS,
    *EMBED_ROWS,
    *FRAMEWORK_ROWS,
)
ROWS: dict[str, Row] = {row.id: row for row in _ALL}
