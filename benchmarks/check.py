"""Times `mimodsl check` as a whole process against Megatron-Core; writes `check.md` beside itself.

Processes run by turns, so that whatever else the machine does falls on all of them alike; their CPU
time hardly depends on it.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from measured import MIMODSL, ROOT, Measured, by_turns, where

RESULTS = Path(__file__).with_suffix(".md")
COMMAND = (MIMODSL, "check")
WORLDS = (4, 4_096, 1_048_576)

IMPORT = '`python -c "import megatron.core"`'

SPEC = """\
use "presets/nemotron.mimo"

let replicas = 2

grid llm {
  dense  = tp:2 * dp:replicas
  expert = ep:2 * edp:replicas * pp
}

module language : nemotron_3_nano {
  grid = llm
}

schedule 1f1b {
  sequence     = 8192
  microbatches = 8
}
"""

RANK_GENERATOR = """\
from megatron.core.parallel_state import RankGenerator
for ep, dp in ((1, 2048), (2, 2048)):
    ranks = RankGenerator(
        tp=2 if ep == 1 else 1, ep=ep, dp=dp, pp=1, cp=1, order="tp-cp-ep-dp-pp"
    )
    for token in ("tp", "dp", "cp", "pp", "tp-pp", "tp-dp", "tp-cp", "dp-cp", "ep", "tp-ep-pp"):
        ranks.get_ranks(token)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=9, help="runs of each process (default: 9)")
    runs = options.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "language.mimo"
        spec.write_text(SPEC)
        text = _page(by_turns(_processes(spec), runs), runs)
    RESULTS.write_text(text)
    print(text, end="")


def _processes(spec: Path) -> dict[str, tuple[str, ...]]:
    largest = max((ROOT / "specs").glob("*.mimo"), key=lambda path: path.stat().st_size)
    worlds = {
        f"`check` of {world:,} ranks": (*COMMAND, str(spec), "--set", f"replicas={world // 2}")
        for world in WORLDS
    }
    return {
        f"`check` of the largest shipped spec, `{largest.name}`": (*COMMAND, str(largest)),
        **worlds,
        IMPORT: (sys.executable, "-c", "import megatron.core"),
        "`RankGenerator`, the groups of 4,096 ranks": (sys.executable, "-c", RANK_GENERATOR),
    }


def _page(seconds: Mapping[str, list[Measured]], runs: int) -> str:
    cpu = {name: median(one.cpu for one in found) for name, found in seconds.items()}
    wall = {name: median(one.wall for one in found) for name, found in seconds.items()}
    rows = [
        f"| {name} | {wall[name]:.2f} s | {cpu[name]:.3f} s | {cpu[IMPORT] / cpu[name]:.1f} |"
        for name in seconds
    ]
    return "\n".join(
        [
            "# How long `mimodsl check` takes",
            "",
            f"Whole processes, {runs} runs of each by turns; `make benchmarks` measures anew. The",
            "time does not grow with the world: no rank is counted through.",
            "",
            where(),
            "",
            "| process | median | median of CPU time | how often into the import's |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
