"""Exported scripts on a real Slurm: trained to the end, requeued, and given up at last."""

import os
import re
import sys
from pathlib import Path

import pytest
from attrs import frozen

from mimodsl.cli.main import main
from tests.e2e import slurm
from tests.e2e.tiny import tiny

DEMO = Path(__file__).parents[2] / "specs" / "nemotron_vlm.mimo"
# Runs in every Python of a job that finds it on its path. In the middle of the second save of the
# first attempt, before `latest` names it, the rank dies or the time is said to be nearly up.
IN_THE_SECOND_SAVE = """
import os, signal, subprocess, sys

named = 0

def hook(event, arguments):
    global named
    if event == "os.rename" and str(arguments[1]).endswith("/latest"):
        named += 1
        if named == 2:
            {what}

if os.environ.get("RANK") == "0" and os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
    sys.addaudithook(hook)
"""
DIE = "os._exit(1)"
TIME_IS_UP = (
    "subprocess.run(['scancel', '--batch', '--signal=USR1', os.environ['SLURM_JOB_ID']]), "
    "signal.pause()"
)

pytestmark = pytest.mark.skipif(
    bool(slurm.missing()), reason=f"Slurm is not installed: no {', '.join(slurm.missing())}"
)


@frozen
class Submitted:
    """A job by its number, its cluster, and the folder of its run."""

    cluster: slurm.Cluster
    job: str
    run: Path

    def output(self) -> str:
        """What the batch script said."""
        return next(self.run.parent.glob(f"*-{self.job}.out")).read_text()

    def log(self, attempt: int) -> str:
        """What the ranks of an attempt said."""
        return (self.run / "logs" / f"{self.job}.{attempt}" / "node-0.log").read_text()

    def ended(self) -> tuple[str, str]:
        """The job's exit code and how often it was requeued, when it is over."""
        found = self.cluster.wait(self.job)
        return found["ExitCode"], found["Restarts"]

    def latest(self) -> str:
        return (self.run / "checkpoints" / "latest").read_text().strip()

    def explain(self) -> str:
        logs = [path.read_text() for path in sorted(self.run.glob("logs/*/*.log"))]
        return "\n".join([self.output(), *logs, self.cluster.logs()])


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """All jobs at once: each test waits for its own."""
    with slurm.cluster() as cluster, pytest.MonkeyPatch.context() as patch:
        patch.delenv("RANK", raising=False)

        def submit(name, spec, *options, hook="", **environment):
            folder = tmp_path_factory.mktemp(name)
            script, run = folder / "job.sh", folder / "the $HOME of 'runs' 100%n"
            arguments = ["export", str(spec), "--to", "slurm", "--device", "cpu"]
            arguments += ["--output", str(script), "--folder", run.name, *options]
            assert main(arguments) == 0
            if hook:
                (folder / "sitecustomize.py").write_text(IN_THE_SECOND_SAVE.format(what=hook))
            path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
            found = {"PYTHON": sys.executable, "PYTHONPATH": path, **environment}
            return Submitted(cluster, cluster.submit(script, **found), run)

        spec = tmp_path_factory.mktemp("spec") / "tiny.mimo"
        spec.write_text(tiny(1))
        steps = ("--steps", "3", "--save-every", "1", "--retries", "1")
        yield {
            "demo": submit("demo", DEMO, "--steps", "4", "--set", "replicas=2"),
            "dies": submit("dies", spec, *steps, hook=DIE),
            "time": submit("time", spec, *steps, hook=TIME_IS_UP),
            "hopeless": submit("hopeless", spec, *steps, PYTHON="false"),
            "once": submit("once", spec, "--retries", "0", PYTHON="false"),
        }
        spec.unlink()


def losses(log: str) -> dict[int, float]:
    return {
        int(step): float(loss)
        for step, loss in re.findall(r"^ +(\d+) +(\d+\.\d+) ", log, re.MULTILINE)
    }


def test_a_job_that_cannot_run_is_tried_again_and_then_given_up(jobs):
    job = jobs["hopeless"]
    assert job.ended() == ("1:0", "1"), job.explain()
    assert "the run failed with 1; the job will go on from the beginning" in job.output()
    assert "the run failed with 1; not again: attempt 2, and no new checkpoint" in job.output()


def test_a_job_without_retries_fails_at_once(jobs):
    job = jobs["once"]
    assert job.ended() == ("1:0", "0"), job.explain()


@pytest.mark.parametrize(
    ("name", "why"), [("dies", "the run failed with 1"), ("time", "the time is nearly up")]
)
def test_a_job_that_breaks_off_goes_on_from_its_last_whole_checkpoint(jobs, name, why):
    job = jobs[name]
    assert job.ended() == ("0:0", "1"), job.explain()
    assert f"{why}; the job will go on from step-00000001" in job.output()
    assert (list(losses(job.log(0))), list(losses(job.log(1)))) == ([1, 2], [2, 3])
    assert losses(job.log(0))[2] == losses(job.log(1))[2]
    assert job.latest() == "step-00000003"


def test_the_demo_trains_on_eight_ranks_to_the_end(jobs):
    job = jobs["demo"]
    assert job.ended() == ("0:0", "0"), job.explain()
    assert "8 ranks on localhost" in job.output()
    curve = losses(job.log(0))
    assert list(curve) == [1, 2, 3, 4]
    assert curve[4] < curve[1] - 1
    assert "8 ranks on cpu over gloo" in job.log(0)
    assert job.latest() == "step-00000004"
