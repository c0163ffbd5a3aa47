"""The stable codes of mistakes that reading and lowering a file can find.

Each entry is also a page of the rule reference. `MIMO0xx` are about files and syntax, `MIMO1xx`
about names and declarations, `MIMO2xx` about values and fields, and `MIMO9xx` about rules that
fail. The pages of `MIMO3xx` to `MIMO8xx` are in `mimodsl/checker`, next to their checks.
"""

from typing import Final

from attrs import frozen

from mimodsl.diagnostics.diagnostic import Diagnostic, Edit, Label
from mimodsl.source import Span


@frozen(kw_only=True)
class Code:
    """A kind of mistake. `example` is a file with only this mistake, if a text can have it."""

    id: str
    title: str
    why: str
    example: str | None = None

    def at(  # noqa: PLR0913 - the parts of a diagnostic
        self,
        span: Span,
        message: str,
        label: str = "",
        *,
        secondary: tuple[Label, ...] = (),
        notes: tuple[str, ...] = (),
        help: tuple[str, ...] = (),
        edits: tuple[Edit, ...] = (),
    ) -> Diagnostic:
        """An error with this code."""
        return Diagnostic(
            code=self.id,
            message=message,
            primary=Label(span, label),
            secondary=secondary,
            notes=notes,
            help=help,
            edits=edits,
        )


# Files and syntax.

UNEXPECTED: Final = Code(
    id="MIMO001",
    title="unexpected text",
    why="The text is not valid `.mimo` at this place. Reading continues at the next line that "
    "begins a declaration, so one broken declaration gives one error.",
    example="grid llm {\n  dense = tp 2\n}\n",
)
NO_DECLARATION: Final = Code(
    id="MIMO002",
    title="not a declaration",
    why="A declaration begins with one of the keywords `use`, `let`, `grid`, `place`, `preset`, "
    "`module`, `flow`, `schedule` and `train`.",
    example="gird llm {\n  dense = tp:2\n}\n",
)
UNCLOSED: Final = Code(
    id="MIMO003",
    title="unclosed bracket",
    why="A block, list or parenthesis is opened, but not closed before the next declaration.",
    example="grid llm {\n  dense = tp:2\n",
)
UNKNOWN_CHARACTER: Final = Code(
    id="MIMO004",
    title="unknown character",
    why="A character has no meaning in the language. Often it looks like another one.",
    example="let replicas = 2 × 2\n",
)
BAD_STRING: Final = Code(
    id="MIMO005",
    title="malformed string",
    why="A string stands between double quotes on one line, and uses the escapes of JSON.",
    example='let pattern = "MEM\n',
)
BAD_NUMBER: Final = Code(
    id="MIMO006",
    title="malformed number",
    why="A number is neither an integer nor a float, or it does not fit into 64 bits.",
    example="let replicas = 99999999999999999999\n",
)
TOO_DEEP: Final = Code(
    id="MIMO007",
    title="brackets nested too deeply",
    why="Blocks, lists and parentheses can be nested at most 32 deep.",
    example=f"let replicas = {'(' * 33}1{')' * 33}\n",
)
UNREADABLE: Final = Code(
    id="MIMO008",
    title="unreadable file",
    why="The file does not exist, is not a file, cannot be read, or is larger than the limit of "
    "64 KiB.",
)
NOT_UTF8: Final = Code(
    id="MIMO009",
    title="not UTF-8",
    why="A `.mimo` file is UTF-8 text.",
)
USE_MISSING: Final = Code(
    id="MIMO010",
    title="used file not found",
    why="The path of a `use` is relative to the file that contains it; `presets/…` also finds the "
    "shipped presets.",
    example='use "presets/nowhere.mimo"\n',
)
USE_ESCAPES: Final = Code(
    id="MIMO011",
    title="used file outside the spec's folder",
    why="A spec can be moved as one folder: the files it uses are in the folder of the main spec "
    "or below it, also after symbolic links are followed. Only the shipped presets may be "
    "elsewhere.",
    example='use "../elsewhere.mimo"\n',
)
USE_CYCLE: Final = Code(
    id="MIMO012",
    title="files use each other",
    why="Files that use each other, directly or through other files, cannot be read in any order. "
    "A chain of files that use each other has at most 64 files.",
)
TOO_MANY_MISTAKES: Final = Code(
    id="MIMO013",
    title="too many mistakes",
    why="A text with more than a hundred mistakes is hardly a spec, so the rest of it is not "
    "checked.",
)
TOO_LARGE: Final = Code(
    id="MIMO014",
    title="spec too large",
    why="A spec and all the files it uses have at most 256 files, 512 declarations and 64 KiB of "
    "text. Large models need a hundredth of that, and the limit keeps checking fast for any "
    "text.",
)

NOT_JSON: Final = Code(
    id="MIMO015",
    title="not JSON",
    why="A file whose name ends in `.json`, or standard input that begins with `{`, is one JSON "
    "document. No object in it has the same key twice.",
)
NOT_A_DOCUMENT: Final = Code(
    id="MIMO016",
    title="JSON that is not a spec",
    why="A spec in JSON has the objects and fields of the published JSON Schema. The message "
    "names the object by its path in the document.",
)

# Names and declarations.

DUPLICATE: Final = Code(
    id="MIMO101",
    title="declared twice",
    why="A constant, preset, grid or module is declared once in the whole spec, including the "
    "files it uses. There is one `place`, one `schedule` and one `train`.",
    example="let replicas = 2\nlet replicas = 4\n",
)
UNKNOWN_WORD: Final = Code(
    id="MIMO102",
    title="unknown constant",
    why="A word without quotes is the name of a `let`, in this file or in a file that it uses.",
    example="let replicas = 2\nlet ranks = 2 * replica\n",
)
UNKNOWN_KIND: Final = Code(
    id="MIMO103",
    title="unknown kind or preset",
    why="After the colon of a module or preset stands a kind of the language, or a preset from "
    "this file or from a file that it uses.",
    example="preset decoder : gtp {\n  hidden = 64\n}\n",
)
UNKNOWN_GRID: Final = Code(
    id="MIMO104",
    title="unknown grid",
    why="A placement or a module names a grid that is not declared.",
    example="grid llm {\n  dense = tp:2\n}\n\nplace lm\n",
)
UNKNOWN_MODULE: Final = Code(
    id="MIMO105",
    title="unknown module",
    why="A flow names a module that is not declared.",
    example="module language : affine_projector {\n}\n\n"
    "flow vision -> language {\n  token = 511\n}\n",
)
LET_CYCLE: Final = Code(
    id="MIMO106",
    title="constants defined by each other",
    why="Constants can be declared in any order, but a constant cannot depend on its own value.",
    example="let ranks = 2 * replicas\nlet replicas = ranks // 2\n",
)
PRESET_CYCLE: Final = Code(
    id="MIMO107",
    title="presets based on each other",
    why="A chain of presets must end at a kind.",
    example="preset small : tiny {\n}\n\npreset tiny : small {\n}\n",
)
RESERVED: Final = Code(
    id="MIMO108",
    title="reserved name",
    why="`true`, `false`, `none` and `_` are values, and the name of a kind stands for the kind. "
    "They cannot be used as names.",
    example="let none = 0\n",
)
MISSING_DECLARATION: Final = Code(
    id="MIMO109",
    title="missing declaration",
    why="A spec needs at least one grid and a schedule. With several grids it also needs a "
    "placement.",
    example="grid llm {\n  dense = tp:2\n}\n",
)
NOT_IN_USED_FILE: Final = Code(
    id="MIMO110",
    title="declaration that a used file cannot contain",
    why="`use` brings in constants, presets, grids and modules. A placement, flow, schedule or "
    "training belongs to the main spec, next to the declarations that it joins.",
)
SET_UNKNOWN: Final = Code(
    id="MIMO111",
    title="--set of an unknown constant",
    why="`--set name=value` replaces the value of a `let` of the main spec.",
)
SET_VALUE: Final = Code(
    id="MIMO112",
    title="--set to a value of another type",
    why="A constant keeps its type when it is set from outside: the new value is written as in "
    "the language, and an integer remains an integer.",
)
BROKEN_KIND: Final = Code(
    id="MIMO113",
    title="unusable kind of an installed package",
    why="A package names its own kind with an entry point. mimodsl imports the kind when a spec "
    "uses it. The kind must be a CustomEncoder, a CustomProjector or a CustomLanguage with the "
    "same keyword, and its fields must be knobs.",
)
SENSELESS_KIND: Final = Code(
    id="MIMO114",
    title="kind of another package without sizes",
    why="With the values from the spec, a kind of another package states its input and output, "
    "its weights and what an input costs. Where it fails to do so, or states an impossible "
    "size, nothing can be planned or built.",
)

# Values and fields.

UNKNOWN_FIELD: Final = Code(
    id="MIMO201",
    title="unknown field",
    why="A block accepts only the fields of its kind, so a misspelt field is never ignored.",
    example="train {\n  precison = bf16\n}\n",
)
WRONG_TYPE: Final = Code(
    id="MIMO202",
    title="value of the wrong type",
    why="Every field has a type, and values are never converted to another type.",
    example='train {\n  seed = "1234"\n}\n',
)
OUT_OF_BOUNDS: Final = Code(
    id="MIMO203",
    title="value out of bounds",
    why="The value violates the constraint of its own field, whatever the other fields are.",
    example="schedule 1f1b {\n  sequence = 0\n}\n",
)
MISSING_FIELD: Final = Code(
    id="MIMO204",
    title="missing field",
    why="A field without a default must be set by the module or by its preset.",
    example="schedule 1f1b {\n  microbatches = 8\n}\n",
)
DUPLICATE_FIELD: Final = Code(
    id="MIMO205",
    title="field set twice",
    why="A block sets each field once. The same holds for the views and `ranks` of a grid, and "
    "for the axes of a view.",
    example="train {\n  seed = 1\n  seed = 2\n}\n",
)
UNKNOWN_CHOICE: Final = Code(
    id="MIMO206",
    title="unknown choice",
    why="The field accepts one of several words, and this is none of them.",
    example="train {\n  precision = bf61\n}\n",
)
BAD_ARITHMETIC: Final = Code(
    id="MIMO207",
    title="arithmetic without a value",
    why="`+ - * // %` work on integers of up to 64 bits, and division by zero has no value.",
    example="let replicas = 8 // 0\n",
)
NOT_A_CONSTANT: Final = Code(
    id="MIMO208",
    title="value that a constant cannot have",
    why="The value of a `let` is an integer, float, string, boolean, size or a list of these. "
    "Fields that belong together form a `preset`.",
    example="let optimizer = adamw { lr = 1e-4 }\n",
)
BAD_FILL: Final = Code(
    id="MIMO209",
    title="axis that cannot be filled",
    why="`_` stands for the ranks of the grid that the other axes of the view leave over. A view "
    "has at most one `_`, the number of ranks is known, and the other axes divide it.",
    example="grid llm {\n  ranks = 8\n  dense = tp:3 * dp:_\n}\n",
)
EMPTY_GRID: Final = Code(
    id="MIMO210",
    title="grid without a view",
    why="A grid is the product of the axes of its base view.",
    example="grid llm {\n}\n",
)

# Rules themselves.

BROKEN_RULE: Final = Code(
    id="MIMO901",
    title="rule that failed",
    why="The rule stopped with an internal error, so it is not known whether the spec breaks it. "
    "This is a bug of mimodsl, or of the package that brings the rule. All other rules ran.",
)

CODES: Final[dict[str, Code]] = {
    code.id: code for code in tuple(globals().values()) if isinstance(code, Code)
}
