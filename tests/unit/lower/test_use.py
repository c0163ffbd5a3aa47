"""Files that use each other: where they may lie, what they may hold, and cycles."""

import os
from pathlib import Path

import pytest

from mimodsl.ir import Spec
from mimodsl.lower import LoadedSpec, load, parse
from tests.unit.lower.texts import BASE, GPT, text_at


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spec").mkdir()
    return tmp_path / "spec"


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.mimo").write_text(text)
    return folder / "main.mimo"


def spec_of(loaded: LoadedSpec) -> Spec:
    assert loaded.diagnostics == ()
    assert loaded.spec is not None
    return loaded.spec


def found(loaded: LoadedSpec) -> list[str]:
    return [one.code for one in loaded.diagnostics]


def test_a_used_file_brings_its_names(folder: Path) -> None:
    main = write(
        folder,
        main=f'use "parts.mimo"\nmodule language : small\n{BASE}train {{\n  seed = n\n}}\n',
        parts=f"let n = 7\npreset small : gpt {{\n  {GPT}\n}}\n",
    )
    spec = spec_of(load(main))
    assert spec.train.seed == 7
    assert spec.language.kind.hidden == 64


def test_a_used_file_sees_only_what_it_uses_itself(folder: Path) -> None:
    main = write(folder, main=f'use "parts.mimo"\nlet n = 7\n{BASE}', parts="let m = n\n")
    loaded = load(main)
    assert found(loaded) == ["MIMO102"]
    assert str(loaded.diagnostics[0].primary.where) == f"{folder}/parts.mimo:1:9"


def test_a_file_that_is_used_twice_is_read_once(folder: Path) -> None:
    main = write(
        folder,
        main=f'use "a.mimo"\nuse "b.mimo"\n{BASE}',
        a='use "c.mimo"\nlet a = c\n',
        b='use "c.mimo"\nlet b = c\n',
        c="let c = 1\n",
    )
    loaded = load(main)
    spec_of(loaded)
    assert [Path(source.path).name for source in loaded.sources] == [
        "c.mimo",
        "a.mimo",
        "b.mimo",
        "main.mimo",
    ]


def test_a_name_is_declared_once_over_all_files(folder: Path) -> None:
    main = write(folder, main=f'use "a.mimo"\nlet n = 1\n{BASE}', a="let n = 2\n")
    (one,) = load(main).diagnostics
    assert one.code == "MIMO101"
    assert "a.mimo" in str(one.secondary[0].where)


def test_a_cycle_is_shown(folder: Path) -> None:
    main = write(folder, main=f'use "a.mimo"\n{BASE}', a='use "b.mimo"\n', b='use "a.mimo"\n')
    (one,) = load(main).diagnostics
    assert (one.code, text_at(one.primary)) == ("MIMO012", '"a.mimo"')
    assert one.message == "files use each other: a.mimo -> b.mimo -> a.mimo"
    own = write(folder, main=f'use "main.mimo"\n{BASE}')
    assert found(load(own)) == ["MIMO012"]


def test_a_chain_of_files_has_an_end(folder: Path) -> None:
    for index in range(1_000):
        (folder / f"f{index}.mimo").write_text(f'use "f{index + 1}.mimo"\n')
    main = write(folder, main=f'use "f0.mimo"\n{BASE}', f1000="let n = 1\n")
    assert found(load(main)) == ["MIMO012"]


def test_set_reaches_constants_of_the_main_file_alone(folder: Path) -> None:
    main = write(folder, main=f'use "a.mimo"\nlet m = 1\n{BASE}', a="let n = 2\n")
    assert found(load(main, {"m": "2"})) == []
    assert found(load(main, {"n": "2"})) == ["MIMO111"]


@pytest.mark.parametrize(
    "path", ["../out.mimo", "sub/../../out.mimo", "link.mimo", "inside/out.mimo"]
)
def test_the_spec_s_folder_is_not_left(folder: Path, path: str) -> None:
    (folder.parent / "out.mimo").write_text("let n = 1\n")
    (folder / "sub").mkdir()
    (folder / "link.mimo").symlink_to(folder.parent / "out.mimo")
    (folder / "inside").symlink_to(folder.parent)
    assert found(load(write(folder, main=f'use "{path}"\n{BASE}'))) == ["MIMO011"]


def test_an_absolute_path_outside_is_refused(folder: Path) -> None:
    (folder.parent / "out.mimo").write_text("let n = 1\n")
    main = write(folder, main=f'use "{folder.parent}/out.mimo"\n{BASE}')
    assert found(load(main)) == ["MIMO011"]


def test_a_link_within_the_folder_is_fine(folder: Path) -> None:
    (folder / "link.mimo").symlink_to(folder / "a.mimo")
    spec_of(load(write(folder, main=f'use "link.mimo"\n{BASE}', a="let n = 1\n")))


def test_files_below_may_use_files_above_within_the_folder(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "b.mimo").write_text('use "../a.mimo"\nlet m = n\n')
    spec_of(load(write(folder, main=f'use "sub/b.mimo"\n{BASE}', a="let n = 1\n")))


@pytest.mark.parametrize(
    "path", ["none.mimo", "", ".", "\\u0000", "x" * 5000, "presets/../../README.md", "\\ud7ff"]
)
def test_what_is_no_file_is_a_diagnostic(folder: Path, path: str) -> None:
    (one,) = load(write(folder, main=f'use "{path}"\n{BASE}')).diagnostics
    assert one.code in ("MIMO008", "MIMO010", "MIMO011")
    assert text_at(one.primary) == f'"{path}"'


def test_shipped_presets_are_found_from_anywhere(folder: Path) -> None:
    text = f'use "presets/nemotron_small.mimo"\n{BASE}module language : nemotron_small\n'
    assert spec_of(load(write(folder, main=text))).language.kind.hidden == 128
    assert spec_of(parse(text)).language.kind.hidden == 128


def test_a_file_of_one_s_own_comes_before_a_shipped_preset(folder: Path) -> None:
    (folder / "presets").mkdir()
    (folder / "presets" / "nemotron.mimo").write_text("let mine = 1\n")
    main = write(folder, main=f'use "presets/nemotron.mimo"\nlet x = mine\n{BASE}')
    spec_of(load(main))


def test_a_used_file_holds_no_training(folder: Path) -> None:
    main = write(folder, main=f'use "a.mimo"\n{BASE}', a="train {\n}\nplace x\n")
    assert found(load(main)) == ["MIMO110", "MIMO110"]


def test_a_used_file_s_mistakes_are_found_too(folder: Path) -> None:
    main = write(folder, main=f'use "a.mimo"\n{BASE}', a="let x = = 2\nlet y = 1 // 0\n")
    assert found(load(main)) == ["MIMO001", "MIMO207"]


# What cannot be read.


@pytest.mark.parametrize("name", ["missing.mimo", "", ".", "nul\0.mimo"])
def test_a_main_file_that_cannot_be_read(folder: Path, name: str) -> None:
    loaded = load(f"{folder}/{name}")
    assert found(loaded) == ["MIMO008"]
    assert loaded.spec is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(folder: Path) -> None:
    main = write(folder, main=BASE)
    main.chmod(0)
    assert found(load(main)) == ["MIMO008"]


def test_a_device_is_not_read() -> None:
    assert found(load("/dev/zero")) == ["MIMO008"]


def test_a_file_that_is_not_text(folder: Path) -> None:
    main = folder / "main.mimo"
    main.write_bytes("\ufefflet é = 1\n".encode() + b"\xff\n")
    (one,) = load(main).diagnostics
    assert (one.code, str(one.primary.where)) == ("MIMO009", f"{main}:2:1")
    assert "0xff" in one.message


def test_a_file_that_is_too_large(folder: Path) -> None:
    main = folder / "main.mimo"
    main.write_bytes(b"#" * 10_000_000)
    assert found(load(main)) == ["MIMO008"]


def test_a_byte_order_mark_is_no_text(folder: Path) -> None:
    main = folder / "main.mimo"
    main.write_bytes(("\ufeff" + BASE).encode())
    spec_of(load(main))
    spec_of(parse("\ufeff" + BASE))


@pytest.mark.parametrize(
    ("number", "text", "limit"),
    [
        (300, "", "256 files"),
        (300, "let a{0} = 1\nlet b{0} = 1\n", "512 declarations"),
        (10, "#" * 10_000, "65,536 characters"),
    ],
)
def test_that_a_spec_is_too_large_is_said_once(
    folder: Path, number: int, text: str, limit: str
) -> None:
    for index in range(number):
        (folder / f"{index}.mimo").write_text(text.format(index))
    uses = "".join(f'use "{index}.mimo"\n' for index in range(number))
    (one,) = load(write(folder, main=f"{uses}{BASE}")).diagnostics
    assert one.code == "MIMO014"
    assert limit in one.message
