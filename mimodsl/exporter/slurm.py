"""`--to slurm`: a batch script that starts torchrun on each node, and goes on after a failure."""

import re
from collections.abc import Iterator
from typing import Final

from mimodsl.exporter.script import RUN_NODE, environment, head, settings, write_spec
from mimodsl.exporter.target import Launch, Target
from mimodsl.exporter.torchrun import TORCHRUN
from mimodsl.planner.device import Device
from mimodsl.planner.nodes import NodePlan

_WORD: Final = re.compile(r"[\w.,:+@%=/-]+", re.ASCII)
_TIME: Final = re.compile(r"(\d+-)?\d+(:\d\d){0,2}|UNLIMITED|INFINITE")
_LOGGED: Final = r"""
run_logged() { run_node "$SLURM_NODEID" >"$logs/node-$SLURM_NODEID.log" 2>&1; }
"""
_RENDEZVOUS: Final = r"""
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
export MASTER_ADDR="${MASTER_ADDR:-${hosts%%$'\n'*}}"
# Jobs that share a node get ports of their own, below those that the kernel hands out.
export MASTER_PORT="${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 10000))}"
"""
_AGAIN: Final = r"""
latest() { cat "$folder/checkpoints/latest" 2>/dev/null || true; }

# Puts the job back into the queue, where that is of any use: an attempt that saved a checkpoint has
# got further, and others are repeated a few times only.
again() {
  if [[ $(latest) == "$begun" ]] && ((${SLURM_RESTART_COUNT:-0} >= retries)); then
    echo "$1; not again: attempt $((${SLURM_RESTART_COUNT:-0} + 1)), and no new checkpoint"
  else
    echo "$1; the job will go on from $(latest | grep . || echo "the beginning")"
    scontrol requeue "$SLURM_JOB_ID"
  fi
}
begun=$(latest)
trap 'again "the time is nearly up"; exit 1' USR1
"""
_MAIN: Final = r"""
write_spec
export logs=$folder/logs/$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}
mkdir -p "$logs"
echo "$world ranks on $SLURM_JOB_NODELIST; logs in $logs"
# One task a node, which has all cores of the job there. The shell waits, and so hears signals.
srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=1 \
  bash -c "$(declare -f run_node run_logged); run_logged" &
code=0
wait $! || code=$?
if ((code != 0)); then
  grep --with-filename --max-count=1 "^error:" "$logs"/*.log | head -n 8 || true
fi
"""


def _write(nodes: NodePlan, launch: Launch) -> str:
    return "\n".join(_lines(nodes, launch))


def _lines(nodes: NodePlan, launch: Launch) -> Iterator[str]:
    yield "#!/usr/bin/env bash"
    yield from (f"#SBATCH {option}" for option in _options(nodes, launch))
    yield "#"
    yield from head(nodes, launch)
    yield "# Submit it with sbatch, in the folder where its paths begin, with Python on the PATH."
    yield "# shellcheck disable=SC2329 # srun's shells call functions, too"
    yield "set -euo pipefail"
    yield ""
    yield from settings(nodes, launch)
    if launch.retries:
        yield f"retries={launch.retries}  # attempts more, while none of them gets to a checkpoint"
    yield ""
    yield from environment(nodes, launch)
    yield _RENDEZVOUS.rstrip("\n")
    yield RUN_NODE.rstrip("\n")
    yield _LOGGED
    yield from write_spec(nodes)
    if launch.retries:
        yield _AGAIN.rstrip("\n")
    yield _MAIN.rstrip("\n")
    if launch.retries:
        yield '((code == 0)) || again "the run failed with $code"'
    yield 'exit "$code"'
    yield ""


def _options(nodes: NodePlan, launch: Launch) -> Iterator[str]:
    """Options of sbatch. `ValueError` for values that it would not take for one word."""
    yield f"--job-name={_word('job name', launch.name)}"
    yield f"--nodes={nodes.nodes}"
    yield "--ntasks-per-node=1"
    if launch.device is Device.CUDA:
        yield f"--gpus-per-node={nodes.per_node}"
        if nodes.per_node == launch.gpus_per_node:
            # Whole nodes come with all their cores and memory.
            yield "--exclusive"
            yield "--mem=0"
    else:
        yield f"--cpus-per-task={nodes.per_node}"
    if launch.time:
        if not _TIME.fullmatch(launch.time):
            raise ValueError(f"no time limit of Slurm: {launch.time!r}; one is 2-12:00:00")
        yield f"--time={launch.time}"
    for name, value in (("partition", launch.partition), ("account", launch.account)):
        if value:
            yield f"--{name}={_word(name, value)}"
    yield "--output=%x-%j.out"
    yield "--open-mode=append"
    if launch.retries:
        yield "--requeue"
        yield "--signal=B:USR1@120"
    else:
        yield "--no-requeue"
    for option in launch.sbatch:
        if not re.fullmatch(r"--?[a-zA-Z][^\x00-\x1f]*", option):
            raise ValueError(f"no option of sbatch: {option!r}; one is --qos=high")
        yield option


def _word(what: str, value: str) -> str:
    if not _WORD.fullmatch(value):
        raise ValueError(
            f"no {what} of Slurm: {value!r}; letters, digits and . , : + @ % = / _ - are"
        )
    return value


SLURM: Final = Target(
    name="slurm",
    help="a batch script for sbatch",
    options=TORCHRUN.options | {"time", "partition", "account", "retries", "sbatch"},
    write=_write,
)
