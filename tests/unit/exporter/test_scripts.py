"""Launch scripts are sound bash, and call torchrun on each node as the plan has it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from attrs import frozen

import mimodsl
from mimodsl.cli.main import parser
from mimodsl.exporter.target import Launch
from mimodsl.exporter.targets import TARGETS, target
from mimodsl.planner.device import Device
from mimodsl.planner.plan import plan
from mimodsl.runtime.checkpoint.folder import LATEST

SPEC = mimodsl.parse("""
grid all {
  dense = tp:2 * dp:5
}

module language : gpt {
  layers     = 2
  hidden     = 64
  vocabulary = 256
  attention  = { heads = 4 }
}

schedule no_pipelining {
  sequence = 32
}
""")
HOSTILE = "a 'b' \"c\" $(touch pwned) `touch pwned` 100%n \\ ;touch pwned"
LAUNCHES = {
    "plain": Launch(name="plain"),
    "cpu": Launch(name="cpu", device=Device.CPU, retries=0),
    "one node": Launch(name="one", gpus_per_node=16),
    "cpu on one node": Launch(name="one", device=Device.CPU, gpus_per_node=16),
    "hostile": Launch(
        name="hostile",
        source=f"x\ntouch pwned\n{HOSTILE}",
        folder=HOSTILE,
        before=("module() { :; }", "module load cuda"),
        time="2-12:00:00",
        partition="gpu",
        account="a.b",
        sbatch=("--qos=high", "--comment='two words'"),
    ),
}
SHELLCHECK = shutil.which("shellcheck") or shutil.which(
    "shellcheck", path=str(Path(sys.executable).parent)
)


def script(name: str, launch: Launch) -> str:
    return target(name).write(launch.nodes(plan(SPEC)), launch)


@frozen
class Ran:
    """An exit code, what Python and scontrol were asked for, and what was said."""

    code: int
    asked: list[str]
    said: str


@pytest.fixture
def run(tmp_path):
    """Runs a script with a Python that only notes what it is asked for, and so with Slurm."""
    programs = {
        "python": 'printf "%s\\n" "$@" >>"$NOTES"; echo "error: no luck"; '
        'exit "${PYTHON_EXITS:-0}"',
        "scontrol": 'case $1 in show) echo first; echo second ;; *) echo "$@" >>"$NOTES" ;; esac',
        "srun": "while [[ $1 == --* ]]; do shift; done\n"
        'for ((i = 0; i < nodes; i++)); do SLURM_NODEID=$i "$@" || exit; done',
    }
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/usr/bin/env bash\n{text}\n")
        program.chmod(0o755)

    def run(text: str, **variables: str) -> Ran:
        (tmp_path / "script.sh").write_text(text)
        notes = tmp_path / "notes"
        notes.write_text("")
        path = os.pathsep.join((str(tmp_path / "bin"), os.environ["PATH"]))
        ran = subprocess.run(
            ["bash", "script.sh"],
            cwd=tmp_path,
            env={"PATH": path, "NOTES": str(notes), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not (tmp_path / "pwned").exists()
        return Ran(ran.returncode, notes.read_text().splitlines(), ran.stdout + ran.stderr)

    return run


def test_the_command_offers_every_target():
    export = next(a.choices for a in parser()._actions if isinstance(a.choices, dict))["export"]
    choices = next(action.choices for action in export._actions if action.dest == "to")
    assert tuple(choices) == tuple(each.name for each in TARGETS)


def test_targets_take_fields_of_a_launch():
    fields = {field.name for field in attrs.fields(Launch)}
    assert all(each.options < fields for each in TARGETS)


@pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)
@pytest.mark.parametrize("name", [each.name for each in TARGETS if each.launches])
def test_a_script_is_sound_bash(name, launch, tmp_path):
    path = tmp_path / "script.sh"
    path.write_text(script(name, launch))
    subprocess.run(["bash", "-n", path], check=True)
    if SHELLCHECK:
        # Paths are quoted, so that nothing in them expands, on purpose.
        command = [SHELLCHECK, "--exclude=SC2016", path]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.stdout == ""


def test_each_node_runs_its_ranks_and_the_last_one_the_rest(run, tmp_path):
    text = script("torchrun", Launch(name="x", folder=HOSTILE, steps=70, save_every=30))
    for node, ranks in ((0, 8), (1, 2)):
        ran = run(text, NODE_RANK=str(node), MASTER_ADDR="first")
        asked = ran.asked
        assert ran.code == 0
        assert asked[:2] == ["-m", "torch.distributed.run"]
        assert {f"--node-rank={node}", f"--nproc-per-node={ranks}", "--nnodes=2"} <= set(asked)
        assert {"--master-addr=first", "--rdzv-backend=static"} <= set(asked)
        folder = tmp_path / HOSTILE
        assert asked[asked.index("mimodsl") :] == [
            *("mimodsl", "build", f"{HOSTILE}/spec.mimo", "--device", "cuda", "--steps", "70"),
            *("--save", f"{HOSTILE}/checkpoints", "--save-every", "30", "--resume"),
        ]
        assert (folder / "spec.mimo").read_text() == str(SPEC)
        assert (folder / "logs" / f"node-{node}.log").exists()


def test_slurm_runs_the_same_on_every_node_from_the_first_one_on(run, tmp_path):
    text = script("slurm", LAUNCHES["hostile"])
    variables = {"SLURM_JOB_ID": "12345678", "SLURM_JOB_NODELIST": "first,second"}
    ran = run(text, **variables)
    asked = ran.asked
    assert (ran.code, ran.said) == (
        0,
        f"10 ranks on first,second; logs in {HOSTILE}/logs/12345678.0\n",
    )
    assert [word for word in asked if word.startswith("--nproc")] == [
        "--nproc-per-node=8",
        "--nproc-per-node=2",
    ]
    assert [word for word in asked if word.startswith("--node-rank")] == [
        "--node-rank=0",
        "--node-rank=1",
    ]
    assert asked.count("--master-addr=first") == asked.count("--master-port=25678") == 2
    logs = tmp_path / HOSTILE / "logs" / "12345678.0"
    assert {path.name for path in logs.iterdir()} == {"node-0.log", "node-1.log"}


@pytest.mark.parametrize(
    ("restarts", "retries", "requeued"), [(0, 3, True), (2, 3, True), (3, 3, False), (0, 0, False)]
)
def test_a_failed_job_is_requeued_a_few_times_and_keeps_its_code(run, restarts, retries, requeued):
    launch = Launch(name="x", retries=retries, gpus_per_node=16)
    ran = run(
        script("slurm", launch),
        SLURM_JOB_ID="7",
        SLURM_JOB_NODELIST="first",
        SLURM_RESTART_COUNT=str(restarts),
        PYTHON_EXITS="3",
    )
    assert ran.code == 3
    assert ("requeue 7" in ran.asked) == requeued
    assert f"runs/x/logs/7.{restarts}/node-0.log:error: no luck\n" in ran.said


def test_slurm_asks_for_nodes_and_for_what_they_need():
    whole = script("slurm", Launch(name="x")).splitlines()
    assert {"#SBATCH --nodes=2", "#SBATCH --gpus-per-node=8", "#SBATCH --exclusive"} <= set(whole)
    part = script("slurm", Launch(name="x", ranks_per_node=5)).splitlines()
    assert "#SBATCH --gpus-per-node=5" in part
    assert "#SBATCH --exclusive" not in part
    cores = script("slurm", Launch(name="x", device="cpu")).splitlines()
    assert "#SBATCH --cpus-per-task=8" in cores
    assert not any("gpu" in line for line in cores if line.startswith("#SBATCH"))
    asked = script("slurm", LAUNCHES["hostile"]).splitlines()
    assert {"#SBATCH --time=2-12:00:00", "#SBATCH --qos=high"} <= set(asked)


def test_a_node_rank_that_is_none_is_refused(run):
    text = script("torchrun", Launch(name="x"))
    for wrong in ("2", "-1", "a[$(touch pwned)]", "01"):
        ran = run(text, NODE_RANK=wrong, MASTER_ADDR="first")
        assert ran.code == 2
        assert f"NODE_RANK is {wrong}, and has to be from 0 to 1" in ran.said
    assert "MASTER_ADDR: is to be the name of the first node" in run(text).said


def test_scripts_know_the_file_that_names_the_latest_checkpoint():
    assert f'"$folder/checkpoints/{LATEST}"' in script("slurm", Launch(name="x"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "two words"),
        ("partition", "x\n#SBATCH --uid=0"),
        ("account", "#"),
        ("time", "soon"),
        ("sbatch", ["rm -rf"]),
        ("sbatch", ["--x\nrm"]),
    ],
)
def test_what_slurm_would_misread_is_refused(field, value):
    with pytest.raises(ValueError, match=r"of (Slurm|sbatch): "):
        script("slurm", Launch(**{"name": "x", field: value}))
