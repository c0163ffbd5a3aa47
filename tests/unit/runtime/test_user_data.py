"""Samples of a user's own: loaded by name, held to the spec, and their mistakes told as theirs."""

from pathlib import Path
from textwrap import dedent

import pytest
import torch

import mimodsl
from mimodsl.data import Data
from mimodsl.runtime.data import SyntheticData
from mimodsl.runtime.user_data import CheckedData, DataError, load_data

SPEC = mimodsl.load(Path(__file__).parents[3] / "specs" / "nemotron_vlm.mimo")
(FLOW,) = SPEC.flows
SYNTHETIC = SyntheticData(spec=SPEC)


class Given(Data):
    """Samples that are always the same."""

    def __init__(self, tokens=None, images=None, mask=None):
        super().__init__(SPEC)
        self._tokens = SYNTHETIC.tokens(0, 0) if tokens is None else tokens
        self._images = SYNTHETIC.images(FLOW, 0, 0) if images is None else images
        self._mask = mask

    def tokens(self, step, index):
        return self._tokens

    def images(self, flow, step, index):
        return self._images

    def loss_mask(self, step, index):
        return self._mask


def held_to_the_spec(**given):
    return CheckedData(spec=SPEC, path="mine:data", inner=Given(**given))


def test_what_fits_is_passed_on():
    own = held_to_the_spec(mask=torch.ones(64, dtype=torch.bool))
    assert torch.equal(own.tokens(0, 0), SYNTHETIC.tokens(0, 0))
    assert torch.equal(own.images(FLOW, 0, 0), SYNTHETIC.images(FLOW, 0, 0))
    assert own.loss_mask(0, 0).dtype == torch.float32
    assert held_to_the_spec().loss_mask(0, 0) is None
    assert own.held_out() is None


@pytest.mark.parametrize(
    ("given", "ask", "words"),
    [
        ({"tokens": [1, 2]}, "tokens", "gave a list for tokens(3, 4)"),
        ({"tokens": torch.ones(64).long()}, "tokens", "gave a tensor [64]"),
        ({"tokens": torch.ones(65)}, "tokens", "gave torch.float32"),
        ({"tokens": torch.full((65,), 512)}, "tokens", "ids from 512 to 512"),
        ({"tokens": torch.full((65,), -1)}, "tokens", "the spec needs ids from 0 to 511"),
        ({"tokens": torch.full((65,), 511)}, "tokens", "64 placeholders 511"),
        ({"images": torch.ones(1, 3, 8, 8)}, "images", "images(vision, 3, 4)"),
        ({"images": SYNTHETIC.images(FLOW, 0, 0).repeat(2, 1, 1, 1)}, "images", "one of [1, 3"),
        ({"images": 3}, "images", "gave a int for images"),
        ({"mask": torch.ones(65)}, "loss_mask", "one of [64]"),
    ],
)
def test_what_does_not_fit_is_said(given, ask, words):
    own = held_to_the_spec(**given)
    arguments = (FLOW, 3, 4) if ask == "images" else (3, 4)
    with pytest.raises(DataError, match="the spec needs") as raised:
        getattr(own, ask)(*arguments)
    assert words in str(raised.value)
    assert str(raised.value).startswith("mine:data gave ")


MODULE = dedent("""\
    from mimodsl.data import Data


    class Lines(Data):
        def tokens(self, step, index):
            return {}["seven"]

        def images(self, flow, step, index):
            raise AssertionError

    def number(spec):
        return 3

    def broken(spec):
        raise RuntimeError("no such file:\\ndigits.npz")
    """)


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    monkeypatch.delitem(__import__("sys").modules, "lines_of_mine", raising=False)
    (tmp_path / "lines_of_mine.py").write_text(MODULE)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("number", "gave a int, which is no mimodsl.data.Data"),
        (
            "broken",
            """failed, calling it with the spec
  RuntimeError: no such file:
  digits.npz
  at lines_of_mine.py:15 in broken""",
        ),
        (
            "missing",
            """failed, importing it
  AttributeError: module 'lines_of_mine' has no attribute 'missing'""",
        ),
    ],
)
def test_a_function_that_gives_none_is_told_of(name, said):
    with pytest.raises(DataError) as raised:
        load_data(SPEC, f"lines_of_mine:{name}")
    assert str(raised.value) == f"lines_of_mine:{name} {said}"


@pytest.mark.usefixtures("module")
def test_an_error_in_their_code_is_theirs():
    own = load_data(SPEC, "lines_of_mine:Lines")
    with pytest.raises(DataError) as raised:
        own.tokens(3, 4)
    assert str(raised.value) == (
        "lines_of_mine:Lines failed, tokens(3, 4)\n  KeyError: 'seven'\n"
        "  at lines_of_mine.py:6 in tokens"
    )


def test_a_module_that_is_not_there_is_said():
    with pytest.raises(DataError) as raised:
        load_data(SPEC, "nothing_of_mine:data")
    assert str(raised.value) == (
        "nothing_of_mine:data failed, importing it\n"
        "  ModuleNotFoundError: No module named 'nothing_of_mine'"
    )


@pytest.mark.usefixtures("module")
def test_what_their_module_lacks_is_told_at_its_line():
    Path("lines_of_mine.py").write_text(f"import nothing_of_mine\n{MODULE}")
    with pytest.raises(DataError, match=r"'nothing_of_mine'\n  at lines_of_mine.py:1 in <module>$"):
        load_data(SPEC, "lines_of_mine:Lines")


def test_held_out_samples_show_the_same_things_by_other_draws():
    held_out = SYNTHETIC.held_out()
    scenes = [
        data._drawn(0, 0)._normal(1, FLOW.encoder, "scene", 1) for data in (held_out, SYNTHETIC)
    ]
    assert scenes[0].equal(scenes[1])
    trained = {SYNTHETIC.images(FLOW, step, 0).sum().item() for step in range(8)}
    assert all(held_out.images(FLOW, step, 0).sum().item() not in trained for step in range(8))
