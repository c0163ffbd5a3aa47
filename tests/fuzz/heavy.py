"""Texts as large as a spec may be, each made to cost what it can in one part of the checker."""

import random
from collections.abc import Callable

from mimodsl.limits import MAX_CHARACTERS as SIZE

GRID = "grid g { dense = tp:2 }\nschedule no_pipelining { sequence = 64 }\n"
GRID_OF_EXPERTS = GRID.replace("}", ", expert = ep:2 }", 1)
GPT = (
    "gpt { grid = g, layers = 2, hidden = 64, vocabulary = 512, "
    "attention = { heads = 4, head_dim = 16 } }\n"
)
MAMBA = "hybrid { hidden = 64, vocabulary = 512, mamba = { groups = 2 }\n"
EVERY_LAYER = (
    f"{MAMBA}ffn = 128, attention = {{ heads = 4 }}, moe = {{ experts = 4, topk = 2, ffn = 64 }}\n"
)
VIT = "vit { layers = 1, hidden = 64, heads = 4, ffn = 64, image = 32x32, patch = 16 }\n"
_ROOM = 1_000
_STAGES = SIZE // 2 - _ROOM


def _many(piece: str | Callable[[int], str], size: int = SIZE - _ROOM) -> str:
    pieces: list[str] = []
    while size > 0:
        pieces.append(piece if isinstance(piece, str) else piece(len(pieces)))
        size -= len(pieces[-1])
    return "".join(pieces)


def _some(piece: Callable[[int], str], count: int = 500) -> str:
    return "".join(map(piece, range(count)))


def _soup() -> str:
    chance = random.Random(1)
    return "".join(chance.choices('{}()[]"=\n|&*->/_#abc123 ,:', k=SIZE))


TEXTS: dict[str, str] = {
    "constants": _many(lambda n: f"let a{n} = {n}\n"),
    "a chain of constants": _some(lambda n: f"let a{n} = a{n + 1}\n") + "let a500 = 1\n",
    "a cycle of constants": _some(lambda n: f"let a{n} = a{(n + 1) % 500}\n"),
    "all constants in each": _some(
        lambda n: f"let a{n} = {' + '.join(f'a{m}' for m in range(max(0, n - 15), n)) or '1'}\n"
    ),
    "a long sum": f"let a = {_many('1 + ')}1\n",
    "a long list": f"let a = [{_many('1, ')}1]\n",
    "unknown names": f"let a = [{_many(lambda n: f'b{n}, ')}1]\n",
    "unknown names among many": _some(lambda n: f"let replicas_{n} = replicas_{n}x\n"),
    "a long unknown name": f"let a = {'a' * (SIZE - _ROOM)}\nlet b = 1\n",
    "a long word before a number": f"grid g {{ {'a' * (SIZE - _ROOM)} 8 }}\n",
    "a long word before a colon": f"train {{ {'a' * (SIZE - _ROOM)} : 8 }}\n",
    "broken declarations": _many("let\n"),
    "broken declarations, indented": _many("  let a\n"),
    "broken grids": _many("grid{\n"),
    "mistyped keywords": _many("gird llm\n"),
    "open strings": _many('let a = "x\n'),
    "views": f"{GRID}grid h {{\n{_many(lambda n: f'v{n}=tp{chr(10)}')}}}\n",
    "axes": f"{GRID}grid h {{\nv={_many(lambda n: f'a{n}:1*')}z:1}}\n",
    "axes in two views": (
        f"{GRID}grid h {{\nv={_many(lambda n: f'a{n}:1*', SIZE // 2 - _ROOM)}z:1\n"
        f"w={_many(lambda n: f'a{n}*', SIZE // 2 - _ROOM)}z}}\n"
    ),
    "huge axes": f"{GRID}grid h {{\nv={_many(lambda n: f'a{n}:{2**62}*')}z:1}}\n",
    "one axis again and again": f"{GRID}grid h {{\nv={_many('a:1*')}z:1}}\n",
    "grids side by side": _some(lambda n: f"grid g{n} {{ dense = tp:2 }}\n")
    + "place "
    + " | ".join(f"g{n}" for n in range(500))
    + "\nschedule no_pipelining { sequence = 64 }\n",
    "one grid again and again": f"{GRID}place {_many('g|')}g\n",
    "one grid together": f"{GRID}place {_many('g&')}g\n",
    "modules": GRID + _some(lambda n: f"module m{n} : {GPT}", 400),
    "flows": f"{GRID}module m : {GPT}module v : {VIT}"
    "module p : mlp_projector { grid = g }\n"
    + _some(lambda n: f"flow v -> p -> m {{ token = {n} }}\n"),
    "a long flow": f"{GRID}module m : {GPT}flow {_many('m->')}m {{ token = 1 }}\n",
    "unknown fields": f"train {{\n{_many(lambda n: f'x{n}=1{chr(10)}')}}}\n",
    "one field again and again": f"train {{\n{_many('seed=1' + chr(10))}}}\n",
    "a chain of presets": _some(lambda n: f"preset p{n} : p{n + 1} {{ hidden = 2 }}\n")
    + "preset p500 : gpt\n",
    "presets used": _many('use "presets/nemotron.mimo"\n'),
    "files that are not there": _many(lambda n: f'use "f{n}.mimo"\n'),
    "comments": _many("#\n"),
    "comments in a block": f"{GRID}train {{\n{_many('#' + chr(10))}}}\n",
    "comments in a list": f"let a = [\n{_many('1, #' + chr(10))}]\n",
    "comments behind fields": f"train {{\n{_many('a=1 #' + chr(10))}}}\n",
    "line breaks": "\n" * SIZE,
    "carriage returns": "\r" * SIZE,
    "quotes": '"' * SIZE,
    "backslashes": f'let a = "{chr(92) * (SIZE - _ROOM)}"\n',
    "parentheses": "(" * SIZE,
    "braces": "{" * SIZE,
    "lists in lists": f"let a = [{_many('[' * 28 + '1' + ']' * 28 + ',')}1]\n",
    "blocks in blocks": "train {\n" + _many(f"a = {'b { c = ' * 28}1{'}' * 28}\n") + "}\n",
    "minus signs": f"let a = {'- ' * (SIZE // 2 - _ROOM)}1\n",
    "digits": f"let a = {'1' * (SIZE - _ROOM)}\n",
    "digits and dots": "1." * (SIZE // 2),
    "a long pattern": f'{GRID_OF_EXPERTS}module m : {EVERY_LAYER} pattern = "{_many("M*E-")}" }}\n',
    "many stages": (
        f"{GRID.replace('tp:2', f'pp:{_STAGES}').replace('no_pipelining', '1f1b')}"
        f'module m : {MAMBA} pattern = "{"|".join("M" * _STAGES)}" }}\n'
    ),
    "the largest numbers": f"{GRID}module m : {GPT}".replace("64", str(2**63 - 1)),
    "NUL": "\0" * SIZE,
    "byte order marks": "\ufeff" * (SIZE // 3),
    "right to left": "\u202e" * (SIZE // 3),
    "combining": f"let e{chr(0x301) * (SIZE // 3)}\n",
    "soup": _soup(),
}
