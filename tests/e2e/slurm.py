"""A Slurm for tests: a controller and one node on this machine, in a temporary folder."""

import contextlib
import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from tests.e2e.launched import free_ports

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol")
_BEYOND = 600  # seconds that no command of these tests takes, however busy the machine

# No accounts, no cgroups and no munge: one user, whose processes are found in /proc. The node has
# more CPUs than the machine. A requeued job waits until its credential is out of date, 5 seconds at
# least, and then for the scheduler, which looks every second.
_CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
MpiDefault=none
MessageTimeout=30
KillWait=1
NodeName=localhost CPUs=64 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """Programs of Slurm that are not installed."""
    return [program for program in PROGRAMS if not shutil.which(program)]


@frozen
class Cluster:
    """A running Slurm: its folder, and the environment in which its commands find it."""

    folder: Path
    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """What a command of Slurm's prints."""
        return subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=_BEYOND,
        ).stdout

    def submit(self, script: Path, **environment: str) -> str:
        """Submits a script from its folder; returns the job's number."""
        found = {**self.environment, **environment}
        command = ["sbatch", "--parsable", script.name]
        return subprocess.run(
            command, cwd=script.parent, env=found, capture_output=True, text=True, check=True
        ).stdout.strip()

    def wait(self, job: str) -> dict[str, str]:
        """What Slurm says of a job when it is over, requeued or not.

        `sbatch --wait` would say it, too, but looks at the job every half a minute only.
        """
        self.ask("srun", "--quiet", f"--dependency=afterany:{job}", "true")
        words = self.ask("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Starts Slurm, and ends all of it and its jobs after the block."""
    # The names of the sockets have to be short: pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        configuration = folder / "slurm.conf"
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        controller, node = free_ports(2)
        configuration.write_text(
            _CONFIG.format(controller=controller, node=node, user=getpass.getuser(), folder=folder)
        )
        found = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
        running = Cluster(folder, {**found, "SLURM_CONF": str(configuration)})
        for program, *arguments in (["slurmctld", "-i"], ["slurmd", "-N", "localhost"]):
            stack.enter_context(_daemon(running, program, *arguments))
        stack.callback(_end_jobs, running)
        yield running


@contextlib.contextmanager
def _daemon(running: Cluster, program: str, *arguments: str) -> Iterator[None]:
    with (running.folder / f"{program}.log").open("w") as log:
        daemon = subprocess.Popen(
            [program, "-D", *arguments], env=running.environment, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _end_jobs(running: Cluster) -> None:
    """Cancels what is left and takes the node after it, which so has ended all of its processes."""
    running.ask("scancel", f"--user={getpass.getuser()}")
    running.ask("srun", "--exclusive", "true")
