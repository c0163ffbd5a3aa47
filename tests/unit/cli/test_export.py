"""`mimodsl export`: where script and table go, and what is refused."""

import json

import pytest


def test_the_script_goes_to_a_file_and_the_table_to_standard_output(mimodsl, demo, tmp_path):
    script = tmp_path / "job.sh"
    for replicas in (2, 4):
        ran = mimodsl(
            *("export", demo, "--to", "slurm", "--set", f"replicas={replicas}"),
            *("--output", script, "--gpus-per-node", "4", "--partition", "gpu"),
        )
        assert (ran.code, ran.err) == (0, "")
        text = script.read_text()
        assert text.startswith("#!/usr/bin/env bash\n#SBATCH --job-name=nemotron_vlm\n")
        assert f"with replicas={replicas}, whose" in text
        assert f"dense = tp:2 * dp:{replicas}" in text
    lines = [line.split() for line in ran.out.splitlines()]
    assert [
        "4",
        "nodes",
        "4",
        "ranks",
        "on",
        "each:",
        "as",
        "many",
        "as",
        "a",
        "node",
        "takes",
    ] in lines
    rows = {line[0]: line[-3:] for line in lines if "." in "".join(line[:1])}
    assert rows["encoder.tp"] == ["2", "–", "4"]
    assert rows["encoder.dp"] == ["4", "2", "2"]
    assert [path.name for path in tmp_path.iterdir()] == ["job.sh"]


def test_without_a_file_the_script_is_standard_output(mimodsl, demo):
    ran = mimodsl("export", demo, "--to", "torchrun")
    assert ran.code == 0
    assert ran.out.startswith("#!/usr/bin/env bash\n# nemotron_vlm: 8 ranks on 1 node")
    assert "1 node  8 ranks on each: all ranks on one node" in ran.err


def test_json_is_what_programs_get(mimodsl, demo):
    ran = mimodsl("export", demo, "--to", "torchrun", "--json", "--gpus-per-node", "3")
    document = json.loads(ran.out)
    assert {
        key: document[key] for key in ("world", "nodes", "ranks_per_node", "ranks_on_last")
    } == {
        "world": 8,
        "nodes": 4,
        "ranks_per_node": 2,
        "ranks_on_last": 2,
    }
    assert document["why"] == "not 3: then encoder.tp would cross nodes"
    tp = next(group for group in document["groups"] if group["name"] == "llm.tp")
    assert (tp["size"], tp["count"], tp["crossing"]) == (2, 2, 0)
    assert "expert.ep" in " ".join(tp["same_members"])


def test_a_grid_that_begins_in_the_middle_of_a_node_is_named(mimodsl, demo, tmp_path):
    path = tmp_path / "middle.mimo"
    text = demo.read_text().replace("dense = tp:2 * dp:replicas", "dense = tp:1 * dp:1")
    path.write_text(text)
    options = ("--gpus-per-node", "4", "--ranks-per-node", "4", "--output", tmp_path / "x.sh")
    ran = mimodsl("export", path, "--to", "torchrun", *options)
    assert "grid llm begins at rank 1, in the middle of a node" in ran.out


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--partition", "gpu"], "--partition is not for --to torchrun"),
        (["--retries", "1"], "--retries is not for --to torchrun"),
        (["--to", "json", "--job-name", "x"], "--job-name is not for --to json"),
        (["--ranks-per-node", "9"], "9 ranks a node need as many GPUs, a node has 8"),
        (["--gpus-per-node", "1000000"], "a node has 1 to 256 ranks, not 1,000,000"),
    ],
)
def test_what_a_cluster_would_not_take_is_wrong_usage(mimodsl, demo, options, error):
    ran = mimodsl("export", demo, "--to", "torchrun", *options)
    assert (ran.code, ran.out, ran.err) == (2, "", f"error: {error}\n")


def test_a_spec_with_mistakes_is_not_exported(mimodsl, broken, tmp_path):
    ran = mimodsl("export", broken, "--to", "slurm", "--output", tmp_path / "job.sh")
    assert ran.code == 1
    assert "MIMO301" in ran.err
    assert not (tmp_path / "job.sh").exists()


def test_a_file_that_cannot_be_written_is_said_in_a_line(mimodsl, demo, tmp_path):
    ran = mimodsl("export", demo, "--to", "slurm", "--output", tmp_path / "no" / "job.sh")
    assert (ran.code, ran.err) == (2, f"error: {tmp_path}/no/job.sh: No such file or directory\n")
