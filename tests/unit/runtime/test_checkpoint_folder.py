"""The folder of checkpoints: whole ones alone are found, whatever was broken off."""

import json
from pathlib import Path

import attrs
import pytest

import mimodsl
from mimodsl.runtime.checkpoint.folder import begin, commit, find, latest, prepare
from mimodsl.runtime.checkpoint.manifest import CheckpointError, Manifest, Tensor, read_manifest

SPEC = mimodsl.load(Path(__file__).parents[3] / "specs" / "nemotron_vlm.mimo")
MANIFEST = Manifest(
    step=2,
    spec=SPEC,
    updates={"language": 2},
    scheduled=2,
    files={"weights": 5},
    tensors={"language.weight": Tensor(shape=(4, 8), dtype="float32")},
    versions={"mimodsl": "0"},
)


def save(root: Path, step: int, text: str = "12345") -> Path:
    unfinished = begin(root)
    (unfinished / "weights").write_text(text)
    return commit(unfinished, attrs.evolve(MANIFEST, step=step))


def test_the_latest_one_is_found_and_any_by_its_own_folder(tmp_path):
    first, second = save(tmp_path, 2), save(tmp_path, 4)
    assert find(tmp_path).folder == second == latest(tmp_path)
    assert find(tmp_path).manifest == attrs.evolve(MANIFEST, step=4)
    assert find(first).manifest.step == 2
    assert find(first).size == 5
    assert mimodsl.load(first / "spec.mimo") == SPEC
    assert (tmp_path / "latest").read_text() == "step-00000004\n"


def test_a_manifest_from_before_there_was_a_scheduler_has_its_step(tmp_path):
    path = save(tmp_path, 7) / "checkpoint.json"
    document = json.loads(path.read_text())
    assert document.pop("scheduled") == 2
    path.write_text(json.dumps(document))
    assert read_manifest(path.parent).scheduled == 7


def test_the_same_step_again_takes_the_place_of_the_first(tmp_path):
    first = save(tmp_path, 2, "first")
    second = save(tmp_path, 2, "again")
    assert not first.exists()
    assert (find(tmp_path).folder / "weights").read_text() == "again"
    third = save(tmp_path, 2, "third")
    assert find(tmp_path).folder == third == first
    assert not second.exists()


def test_the_next_save_tidies_up_and_leaves_the_rest(tmp_path):
    prepare(tmp_path)
    (begin(tmp_path) / "weights").write_text("12")
    (tmp_path / ".unfinished-latest").write_text("step-")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "step-by-step").mkdir()
    save(tmp_path, 2)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"latest", "notes.txt", "step-00000002", "step-by-step"}


def test_a_folder_is_for_whom_other_files_are_for(tmp_path):
    (tmp_path / "plain").mkdir()
    assert save(tmp_path, 2).stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_latest_that_points_out_of_the_folder_is_none(tmp_path):
    whole = save(tmp_path, 2)
    (tmp_path / "latest").write_text("../elsewhere\n")
    with pytest.raises(CheckpointError, match=f"name one of them, such as {whole}"):
        find(tmp_path)


def test_a_latest_without_its_folder_is_no_checkpoint(tmp_path):
    (tmp_path / "latest").write_text("step-00000002\n")
    with pytest.raises(CheckpointError, match="step-00000002 is no checkpoint: it has no"):
        find(tmp_path)


@pytest.mark.parametrize("text", ["1234", "123456"])
def test_a_file_of_another_size_is_named(text, tmp_path):
    folder = save(tmp_path, 2)
    (folder / "weights").write_text(text)
    with pytest.raises(CheckpointError, match=r"weights has . bytes, and had 5"):
        find(tmp_path)


def test_a_folder_that_can_t_be_made_is_said_to_be_one(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"can't be saved to .*: Not a directory"):
        prepare(tmp_path / "file" / "run")


def test_a_spec_of_another_version_is_refused(tmp_path):
    folder = save(tmp_path, 2)
    manifest = folder / "checkpoint.json"
    manifest.write_text(manifest.read_text().replace('"micro_batch"', '"macro_batch"'))
    with pytest.raises(CheckpointError, match=r"damaged, or of another version: .*macro_batch"):
        read_manifest(folder)
