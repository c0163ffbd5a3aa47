"""The options of a run are the same in Python and on the command line, with the same checks."""

import inspect
import pickle
import re

import attrs
import pytest

import mimodsl
from mimodsl.cli.main import main, parser
from mimodsl.runtime.request import DeviceChoice, TrainRequest
from mimodsl.runtime.to_training import to_training
from mimodsl.wrong_options import WrongOptions
from tests.e2e.tiny import tiny

OF_THE_COMMAND = {"help", "spec", "overrides", "json", "verbose"}
OF_PYTHON = {"spec", "observer", "verbose"}
SPEC = mimodsl.parse(tiny(2))


def test_python_and_the_command_have_every_option_of_a_request():
    fields = {field.name: field.default for field in attrs.fields(TrainRequest)}
    keywords = inspect.signature(mimodsl.train).parameters
    assert {name: keywords[name].default for name in keywords if name not in OF_PYTHON} == fields
    args = vars(parser().parse(["build", __file__, "--no-shared-groups"]))
    flags = args.keys() - OF_THE_COMMAND - {"command"}
    assert flags == fields.keys()


WRONG = [
    ({"save_every": 2}, "save_every needs save, which says where to"),
    ({"resume": True}, "resume goes on from the folder of save, and needs one"),
    ({"resume": True, "save": "a", "load": "b"}, "folder of save, and is not for load"),
    ({"eval_steps": 2}, "eval_steps needs eval_every, which says when"),
    ({"profile_steps": (1, 2)}, "profile_steps and profile_ranks need profile"),
    ({"profile": "a", "profile_steps": (2, 1)}, "profile_steps has a first step from 1 on"),
    ({"profile": "a", "profile_steps": (2, 11)}, "profile_steps goes to 11, the run has 10"),
    ({"profile": "a", "profile_ranks": [0, 2]}, "there is no rank 2 to profile among 2"),
    ({"data": "a {b}:c"}, "data: expected MODULE:FUNCTION, found 'a {b}:c'"),
    ({"device": "meta"}, "mimodsl.build_on_meta builds there"),
    ({"device": "gpu"}, "'gpu' is not a valid DeviceChoice"),
    ({"steps": -1}, "'steps' must be >= 0"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_wrong_options_are_value_errors_in_the_words_of_python(options, words, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        mimodsl.train(SPEC, **options)
    assert "--" not in str(error.value)


def test_messages_name_options_as_their_reader_spells_them():
    error = WrongOptions("{share_groups} and {device:=meta} need {save:DIR}")
    assert str(error) == "share_groups and device='meta' need save"
    flags = error.as_flags(lambda name: f"--{name}")
    assert flags == "--share_groups and --device meta need --save DIR"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_command_spells_them_as_flags(tmp_path, capsys):
    path = tmp_path / "tiny.mimo"
    path.write_text(tiny(2))
    assert main(["build", str(path), "--device", "meta", "--no-shared-groups"]) == 2
    assert capsys.readouterr().err == (
        "error: --device meta trains nothing, and has no use for --no-shared-groups\n"
    )


def test_options_of_training_are_those_that_meta_has_no_use_for():
    assert TrainRequest(steps=0, device="meta").training_options == ()
    request = TrainRequest(seed=0, share_groups=False, device="cpu")
    assert request.training_options == ("seed", "share_groups")
    with pytest.raises(WrongOptions, match="device='meta' trains nothing, and has no use for seed"):
        attrs.evolve(request, device=DeviceChoice.META)


def test_a_request_without_options_comes_to_the_defaults():
    training = to_training(SPEC, TrainRequest())
    assert (training.spec, training.steps, training.saving, training.tracing) == (
        *(SPEC, 10),
        *(None, None),
    )
    assert to_training(SPEC, TrainRequest(seed=5)).spec.train.seed == 5


def test_traces_are_of_the_second_step_or_the_only_one(tmp_path):
    for steps, step in ((5, 2), (1, 1)):
        tracing = to_training(SPEC, TrainRequest(steps=steps, profile=tmp_path)).tracing
        assert tracing is not None
        assert (tracing.first, tracing.last) == (step, step)
