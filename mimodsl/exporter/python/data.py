"""The section of a script that makes its synthetic samples, the same as `mimodsl build` makes."""

from string import Template
from typing import Final

from mimodsl.exporter.python.code import double_quoted as q
from mimodsl.exporter.python.code import text
from mimodsl.exporter.python.resolved import LANGUAGE, Resolved
from mimodsl.exporter.python.source import constant
from mimodsl.exporter.python.trace import PACKAGE

_WHOM: Final = " the\n    language model, and the same again to those of each encoder"
_SAMPLES: Final = PACKAGE / "runtime" / "data.py"
"""What makes the samples of `mimodsl build`."""

_IMAGES: Final = Template('''
class Images(NamedTuple):
    """What one sample shows an encoder: how many inputs of which shape, and the tokens of each."""

    token: int
    count: int
    tokens: int
    shape: tuple[int, ...]


IMAGES = {
$images
}

''')
_TEXT: Final = Template('''
def microbatches(step: int, groups: dict[str, ModuleGroups]) -> Iterator[dict[str, Any]]:
    """This rank's share of a step's samples, as MimoModel.forward takes it.

    The samples of a microbatch are dealt in order to the data-parallel ranks of$whom.
    """
    samples = MICRO_BATCH * $replicas
$reader
    for number in range(MICROBATCHES):
        whole = range(number * samples, (number + 1) * samples)
        microbatch = token_batch(step, share(whole, reader))
        microbatch["modality_inputs"] = $inputs
        yield microbatch


def share(whole: range, groups: ProcessGroupCollection) -> range:
    """This rank's part of a microbatch: as many samples as any other, in order of dp rank."""
    each = len(whole) // groups.dp.size()
    return whole[groups.dp.rank() * each : (groups.dp.rank() + 1) * each]


def token_batch(step: int, samples: range) -> dict[str, Any]:
    """Tokens, labels and positions, each [b, s]."""
    device = torch.cuda.current_device()
    tokens = torch.stack([sample(step, index) for index in samples]).to(device)
    inputs, labels = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
$is_text
    return {
        "input_ids": inputs,
        "position_ids": torch.arange(inputs.size(1), device=device).expand_as(inputs),
        "attention_mask": None,
        "labels": $labels,
        "loss_mask": $mask,
    }


def sample(step: int, index: int) -> torch.Tensor:
    """One sample's token ids and the one after them, [s + 1]$what."""
$ids
    walk = Random(f"{SEED} walk {$seen}").sample(LETTERS, len(LETTERS))
    text = SEQUENCE + 1$less
    return torch.tensor($start[walk[position % len(walk)] for position in range(text)])
''')
_PIXELS: Final = Template('''

def images(name: str, step: int, samples: range) -> dict[str, dict[str, torch.Tensor]]:
    """The samples' images, [n, *shape], each a scene and some noise."""
    shown = []
    for index in samples:
        noise = normal(name, IMAGES[name].count, f"noise {step} {index}")
        seen = [normal(name, 1, f"scene {scene}")[0] for scene in scenes(name, step, index)]
        shown.append(torch.stack(seen) + $noise * noise)
    return {name: {"x": torch.cat(shown).to(torch.cuda.current_device(), DTYPE)}}


def scenes(name: str, step: int, index: int) -> list[int]:
    random = Random(f"{SEED} scenes {name} {step} {index}")
    return [random.randrange($scenes) for _ in range(IMAGES[name].count)]


def normal(name: str, count: int, key: str) -> torch.Tensor:
    generator = torch.Generator("cpu")
    generator.manual_seed(Random(f"{SEED} {name} {key}").getrandbits(63))
    return torch.randn(count, *IMAGES[name].shape, generator=generator, device="cpu")
''')
_IDS: Final = """\
    ids = [shown.token for shown in IMAGES.values() for _ in range(shown.count * shown.tokens)]
    seen = sum(scene for name in IMAGES for scene in scenes(name, step, index))\
"""


def data(of: Resolved) -> str:
    """Samples as functions of the seed, the step and the sample's index."""
    flows = bool(of.flows)
    scenes, noise = constant(_SAMPLES, "SCENES"), constant(_SAMPLES, "NOISE")
    body = _TEXT.substitute(
        whom=_WHOM if flows else "\n    the model",
        replicas=of.language_grid.axis("dp"),
        reader=_reader(of),
        inputs=_inputs(of),
        is_text=_is_text(of),
        labels="labels.where(is_text, 0)" if flows else "labels",
        mask="is_text.float()" if flows else "torch.ones_like(labels).float()",
        what=": placeholders, then text" if flows else "",
        ids=_IDS if flows else "",
        seen=f"seen % {scenes}" if flows else "0",
        less=" - len(ids)" if flows else "",
        start="ids + " if flows else "",
    ).replace('"""\n\n    walk', '"""\n    walk')
    images = "\n".join(_images(of))
    before = _IMAGES.substitute(images=images).lstrip("\n") if flows else ""
    after = _PIXELS.substitute(noise=noise, scenes=scenes) if flows else ""
    letters = f"LETTERS = {text(_letters(of), 0, 10)}\n\n"
    return (letters + ("\n" + before if before else "") + body.rstrip() + "\n" + after).rstrip()


def _images(of: Resolved) -> list[str]:
    rows: list[str] = []
    for flow in of.flows:
        kind = of.spec.encoder(flow)
        shape = text(tuple(kind.input_shape))
        rows.append(
            f"    {q(flow.encoder)}: Images(token={flow.token}, count={flow.images}, "
            f"tokens={of.spec.image_tokens(flow)}, shape={shape}),"
        )
    return rows


def _letters(of: Resolved) -> list[int]:
    """The first token ids that are no placeholder."""
    placeholders = {flow.token for flow in of.flows}
    vocabulary = range(of.spec.language_kind.vocabulary)
    return [token for token in vocabulary if token not in placeholders][
        : constant(_SAMPLES, "LETTERS")
    ]


def _reader(of: Resolved) -> str:
    if of.colocated:
        return "    reader = groups[MIMO_LANGUAGE_MODULE_KEY].layers"
    first = [key for key in of.keys if key != LANGUAGE]
    return (
        f"    keys = (MIMO_LANGUAGE_MODULE_KEY, {', '.join(map(q, first))})\n"
        "    reader = groups[next(key for key in keys if key in groups)].layers"
    )


def _inputs(of: Resolved) -> str:
    if not of.flows:
        return "{}"
    each = "name: images(name, step, share(whole, groups[name].layers))"
    lines = (
        [f"{each} for name in IMAGES"]
        if of.colocated
        else [each, "for name in IMAGES", "if name in groups"]
    )
    return "\n".join(["{", *(f"            {line}" for line in lines), "        }"])


def _is_text(of: Resolved) -> str:
    if not of.flows:
        return ""
    tokens = [flow.token for flow in of.flows]
    if len(tokens) == 1:
        return f"    is_text = labels != {tokens[0]}  # a placeholder is no label that counts"
    return (
        f"    placeholders = torch.tensor({tokens}, device=device)\n"
        "    is_text = ~torch.isin(labels, placeholders)  # they are no labels that count"
    )
