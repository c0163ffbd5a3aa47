"""Saves that are broken off, and checkpoints that can't be loaded: one message, nothing lost."""

import os
import resource
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from mimodsl.cli.main import main
from mimodsl.runtime.checkpoint.folder import find
from tests.e2e.launched import launched
from tests.e2e.tiny import tiny

SPECS = Path(__file__).parents[2] / "specs"
SMALL = ("build", str(SPECS / "nemotron_vlm_colocated.mimo"), "--set", "world=2", "--device", "cpu")


@pytest.fixture(autouse=True)
def outside_a_launcher(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)


@pytest.fixture
def faulty(tmp_path, capfd) -> "Faulty":
    """A run of a tiny model, of which two ranks hold a half each."""
    spec = tmp_path / "tiny.mimo"
    spec.write_text(tiny(2).replace("dp:", "tp:"))
    return Faulty(spec=str(spec), folder=tmp_path / "run", capfd=capfd)


@frozen(kw_only=True)
class Faulty:
    """Runs that save into one folder after each step, of which the first breaks off."""

    spec: str
    folder: Path
    capfd: Any

    def start(self, *options: str) -> int:
        return main(["build", self.spec, "--device", "cpu", "--save", str(self.folder), *options])

    def broken_off(self) -> list[str]:
        """What the first run says, whose second save breaks off; checks what it leaves."""
        assert self.start("--steps", "3", "--save-every", "1") == 1
        out, err = self.capfd.readouterr()
        first = self.folder / "step-00000001"
        assert f"saved step 1 in {first}" in out
        assert find(self.folder).folder == first
        assert "Traceback" not in err
        lines = err.splitlines()
        assert sum(line.startswith("error:") for line in lines) == 1
        assert f"note: the last whole checkpoint is {first}" in lines
        assert {path.name.partition("-")[0] for path in self.folder.iterdir()} == {"latest", "step"}
        return lines

    def goes_on(self) -> None:
        """The next run takes up the last whole checkpoint."""
        assert self.start("--steps", "1", "--load", str(self.folder)) == 0
        assert find(self.folder).manifest.step == 2
        names = {path.name.partition(".")[0] for path in self.folder.iterdir()}
        assert names == {"latest", "step-00000001", "step-00000002"}
        self.capfd.readouterr()


def in_second_save(monkeypatch, module: str, name: str, rank: int, act) -> None:
    """Have a rank do something when, in its second save, it comes to a function."""
    import importlib

    owner = importlib.import_module(f"mimodsl.runtime.checkpoint.{module}")
    original, calls = getattr(owner, name), []

    def hooked(*args, **kwargs):
        calls.append(name)
        if os.environ["RANK"] == str(rank) and len(calls) == 2:
            act()
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, hooked)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill_the_disk() -> None:
    """From now on no file of this process may be longer than a few bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize(
    ("module", "function", "rank"),
    [
        ("saving", "sharded_weights", 1),
        ("saving", "results_in_process", 1),
        ("saving", "commit", 0),
        ("folder", "_free_name", 0),
    ],
    ids=["gathering", "writing", "written", "renaming"],
)
def test_a_rank_killed_in_a_save_leaves_the_last_one(module, function, rank, faulty, monkeypatch):
    with monkeypatch.context() as patch:
        in_second_save(patch, module, function, rank, die)
        lines = faulty.broken_off()
    assert lines[:2] == [
        f"error: rank {rank} failed (saving step 2)",
        "  the process was killed by signal 9 (SIGKILL)",
    ]
    faulty.goes_on()


def test_a_kill_before_latest_is_replaced_leaves_both_loadable(faulty, monkeypatch):
    with monkeypatch.context() as patch:
        in_second_save(patch, "folder", "_name_latest", 0, die)
        faulty.broken_off()
    assert find(faulty.folder / "step-00000002").manifest.step == 2
    faulty.goes_on()
    assert find(faulty.folder).folder.name == "step-00000002.1"
    assert not (faulty.folder / "step-00000002").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_full_disk_ends_in_one_message(rank, faulty, monkeypatch):
    with monkeypatch.context() as patch:
        in_second_save(patch, "saving", "results_in_process", rank, fill_the_disk)
        lines = faulty.broken_off()
    assert lines == [
        f"error: step 2 could not be saved to {faulty.folder}",
        f"  rank {rank}: [Errno 27] File too large",
        f"note: the last whole checkpoint is {faulty.folder / 'step-00000001'}",
        f"help: --save {faulty.folder} --resume goes on from it",
    ]
    faulty.goes_on()


def test_a_full_disk_at_the_last_file_ends_in_one_message(faulty, monkeypatch):
    with monkeypatch.context() as patch:
        in_second_save(patch, "saving", "commit", 0, fill_the_disk)
        lines = faulty.broken_off()
    assert lines[:2] == [
        f"error: step 2 could not be saved to {faulty.folder}",
        "  [Errno 27] File too large",
    ]
    faulty.goes_on()


def test_ctrl_c_in_a_save_leaves_the_last_one(faulty, monkeypatch):
    def interrupt_the_launcher():
        os.kill(os.getppid(), signal.SIGINT)
        threading.Event().wait()

    with monkeypatch.context() as patch:
        in_second_save(patch, "saving", "commit", 0, interrupt_the_launcher)
        assert faulty.start("--steps", "3", "--save-every", "1") == 1
    assert faulty.capfd.readouterr().err.splitlines() == [
        "interrupted",
        f"note: the last whole checkpoint is {faulty.folder / 'step-00000001'}",
        f"help: --save {faulty.folder} --resume goes on from it",
    ]
    assert find(faulty.folder).manifest.step == 1
    assert {path.name for path in faulty.folder.iterdir()} == {"latest", "step-00000001"}


def test_under_a_launcher_the_first_rank_alone_speaks_of_checkpoints(tmp_path):
    def said(*more: str) -> str:
        first, other = launched(2, lambda: main([*SMALL, "--steps", "1", *more]))
        assert (first.code, first.err) == (0, "")
        assert (other.code, other.out, other.err) == (0, "", "")
        return first.out

    assert "saved step 1 in" in said("--save", str(tmp_path))
    loading = said("--load", str(tmp_path))
    assert "loaded step 1 from" in loading
    assert "\n    2  " in loading


def test_a_folder_that_can_t_be_made_is_said_before_training(tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert main([*SMALL, "--save", str(tmp_path / "file" / "run")]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"error: checkpoints can't be saved to {tmp_path / 'file' / 'run'}: ")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RANK", raising=False)
        assert main([*SMALL, "--steps", "1", "--save", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(saved, tmp_path) -> Path:
    """A copy of a whole checkpoint, to be damaged."""
    return shutil.copytree(saved, tmp_path / "copy") / "step-00000001"


def refused(folder: Path, capfd, *more: str) -> str:
    """What is said of a checkpoint that can't be loaded, without any step trained."""
    capfd.readouterr()
    assert main([*SMALL, *more, "--load", str(folder)]) == 1
    out, err = capfd.readouterr()
    assert "step       loss" not in out
    assert "Traceback" not in err
    assert err.startswith("error: ")
    return err


def test_no_folder_is_no_checkpoint(tmp_path, capfd):
    assert "no such folder" in refused(tmp_path / "nowhere", capfd)


def test_an_empty_folder_is_no_checkpoint(tmp_path, capfd):
    said = refused(tmp_path, capfd)
    assert f"there is no checkpoint at {tmp_path}: the file latest is missing" in said
    assert "help: name a folder that `mimodsl build --save` wrote" in said


def test_a_save_that_was_broken_off_is_no_checkpoint(copy, capfd):
    (copy / "checkpoint.json").unlink()
    assert f"{copy} is no checkpoint: it has no checkpoint.json" in refused(copy.parent, capfd)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": 1}', '{"format": 1, "step": 1}'])
def test_a_foreign_manifest_is_said_to_be_one(text, copy, capfd):
    (copy / "checkpoint.json").write_text(text)
    assert str(copy / "checkpoint.json") in refused(copy, capfd)


def test_a_manifest_of_a_later_format_is_refused(copy, capfd):
    manifest = copy / "checkpoint.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    assert "has format 2, this mimodsl reads format 1" in refused(copy, capfd)


@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata", "metadata.json"])
def test_a_missing_or_truncated_file_is_named(name, copy, capfd):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[:-1])
    assert f"{name} has {len(data) - 1:,} bytes, and had {len(data):,}" in refused(copy, capfd)
    (copy / name).unlink()
    assert f"{name}: No such file or directory" in refused(copy, capfd)


@pytest.mark.parametrize("name", ["__0_0.distcp", "__1_0.distcp", ".metadata"])
def test_damaged_bytes_are_said_to_be_unreadable(name, copy, capfd):
    size = (copy / name).stat().st_size
    (copy / name).write_bytes(b"\x5a" * size)
    assert f"error: the checkpoint {copy} can't be read: " in refused(copy, capfd)


def changed(tmp_path: Path, old: str, new: str) -> str:
    """The small spec, changed, beside the presets that it uses."""
    text = Path(SMALL[1]).read_text()
    assert old in text
    spec = tmp_path / "changed.mimo"
    spec.write_text(text.replace(old, new).replace('"presets/', '"'))
    for preset in (SPECS / "presets").iterdir():
        shutil.copy(preset, tmp_path)
    return str(spec)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("radio_small {", "radio_small {\n  layers = 3", "module vision: layers: 2 → 3"),
        ("radio_small {", "radio_small {\n  heads = 8", "module vision: heads: 4 → 8"),
        (
            "nemotron_small {",
            "nemotron_small {\n  hidden = 64",
            "module projector: output width: 128 → 64",
        ),
        (
            "nemotron_small {",
            "nemotron_small {\n  vocabulary = 1024",
            "module language: vocabulary: 512 → 1024",
        ),
        (
            "nemotron_small {",
            "nemotron_small {\n  moe = { experts = 16 }",
            "module language: moe.experts: 8 → 16",
        ),
        (
            "mlp_projector {\n  grid       = encoder\n  activation = squared_relu",
            "affine_projector {\n  grid = encoder",
            "module projector: kind: mlp_projector → affine_projector",
        ),
    ],
)
def test_another_model_is_refused_with_the_first_field(old, new, reason, saved, tmp_path, capfd):
    spec = changed(tmp_path, old, new)
    assert main(["build", spec, "--set", "world=2", "--device", "cpu", "--load", str(saved)]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[:2] == [
        f"error: the checkpoint {saved / 'step-00000001'} does not fit the spec",
        f"  {reason}",
    ]


def test_save_every_needs_a_folder(capfd):
    assert main([*SMALL, "--save-every", "2"]) == 2
    assert "--save-every needs --save DIR" in capfd.readouterr().err
