"""`mimodsl.train` does from Python what `mimodsl build` does."""

import json

import pytest

import mimodsl
from mimodsl.cli.main import main
from mimodsl.data import Data
from mimodsl.runtime.errors import NoDevice, RunError
from mimodsl.runtime.train import Step
from mimodsl.runtime.workers import Observer
from mimodsl.show.run import document as document_of
from tests.e2e.tiny import tiny

TIMES = ("seconds", "tokens_per_s")


@pytest.fixture(autouse=True)
def outside_a_launcher(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)


@pytest.fixture
def spec():
    return mimodsl.parse(tiny(2))


def without_times(document):
    if isinstance(document, dict):
        return {key: without_times(one) for key, one in document.items() if key not in TIMES}
    return [without_times(one) for one in document] if isinstance(document, list) else document


def test_a_run_is_that_of_the_command_and_says_what_it_prints(tmp_path, capfd):
    path = tmp_path / "tiny.mimo"
    path.write_text(tiny(2))
    options = ["--steps", "2", "--seed", "3", "--eval-every", "2", "--eval-steps", "1"]
    assert main(["build", str(path), "--device", "cpu", "--json", *options]) == 0
    printed = json.loads(capfd.readouterr().out)

    run = mimodsl.train(
        mimodsl.load(path), steps=2, seed=3, eval_every=2, eval_steps=1, device="cpu"
    )
    assert capfd.readouterr() == ("", "")
    document = json.loads(json.dumps(document_of(run, str(path))))
    assert without_times(document) == without_times(printed)
    assert [step.loss for step in run.steps] == [step["loss"] for step in printed["steps"]]


def test_a_run_goes_on_from_what_another_has_saved(spec, tmp_path):
    whole = mimodsl.train(spec, steps=3, device="cpu")
    begun = mimodsl.train(spec, steps=1, save=tmp_path / "run", device="cpu")
    resumed = mimodsl.train(spec, steps=3, save=tmp_path / "run", resume=True, device="cpu")
    assert [step.loss for step in (*begun.steps, *resumed.steps)] == [
        step.loss for step in whole.steps
    ]
    assert resumed.start is not None
    assert resumed.start.manifest.step == 1
    again = mimodsl.train(spec, steps=3, save=tmp_path / "run", resume=True, device="cpu")
    assert (again.steps, again.nothing_left) == ((), True)


def test_an_observer_hears_of_steps_and_data_may_be_a_class_made_in_place(spec):
    import torch

    class Repeating(Data):
        def tokens(self, step, index):
            return torch.arange(17) % 32

        def images(self, flow, step, index):
            raise AssertionError("there are no flows")

    class Listener(Observer):
        def __init__(self):
            self.losses = []
            self.phases = []

        def entered(self, rank, phase):
            self.phases.append(phase)

        def reported(self, rank, value):
            if isinstance(value, Step):
                self.losses.append(value.loss)

    listener = Listener()
    run = mimodsl.train(spec, steps=2, data=Repeating, device="cpu", observer=listener)
    assert listener.losses == [step.loss for step in run.steps]
    assert "step 2" in listener.phases


def test_errors_are_exceptions_and_name_the_users_class(spec):
    class Failing(Data):
        def tokens(self, step, index):
            raise IndexError("nothing there")

        def images(self, flow, step, index):
            raise AssertionError("there are no flows")

    with pytest.raises(RunError, match=r"Failing failed, tokens\(0, [01]\)"):
        mimodsl.train(spec, steps=1, data=Failing, device="cpu")


def test_auto_trains_or_says_that_there_is_nothing_to_train_on(spec, monkeypatch):
    monkeypatch.setattr("mimodsl.runtime.devices.RANKS_A_CORE", 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(NoDevice, match="too many for"):
        mimodsl.train(spec)
    assert mimodsl.build_on_meta(spec).spec == spec
