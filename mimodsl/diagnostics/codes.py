"""The stable codes of mistakes that reading and lowering a file can find.

Each entry is also its page in the rule reference. `MIMO0xx` are about files and syntax, `MIMO1xx`
about names and declarations, `MIMO2xx` about values and fields, `MIMO9xx` about what fails itself;
rules from `MIMO3xx` on describe themselves beside their checks in `mimodsl/checker/rules`.
"""

from typing import Final

from attrs import frozen

from mimodsl.diagnostics.diagnostic import Diagnostic, Edit, Label
from mimodsl.source import Span


@frozen(kw_only=True)
class Code:
    """One kind of mistake; `example` is a file with exactly that one, where text can have it."""

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
    why="The text does not read as `.mimo` at this place. Reading goes on at the next line that "
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
    why="A block, list or parenthesis is opened and never closed before the next declaration.",
    example="grid llm {\n  dense = tp:2\n",
)
UNKNOWN_CHARACTER: Final = Code(
    id="MIMO004",
    title="unknown character",
    why="A character that has no meaning in the language, often one that looks like another.",
    example="let replicas = 2 × 2\n",
)
BAD_STRING: Final = Code(
    id="MIMO005",
    title="malformed string",
    why="A string stands between double quotes on one line, with the escapes of JSON.",
    example='let pattern = "MEM\n',
)
BAD_NUMBER: Final = Code(
    id="MIMO006",
    title="malformed number",
    why="A number that is neither an integer nor a float, or one beyond 64 bits.",
    example="let replicas = 99999999999999999999\n",
)
TOO_DEEP: Final = Code(
    id="MIMO007",
    title="brackets nested too deeply",
    why="Blocks, lists and parentheses may be nested 32 deep.",
    example=f"let replicas = {'(' * 33}1{')' * 33}\n",
)
UNREADABLE: Final = Code(
    id="MIMO008",
    title="unreadable file",
    why="The file is missing, is no file, may not be read, or is above the limit of 64 KiB.",
)
NOT_UTF8: Final = Code(
    id="MIMO009",
    title="not UTF-8",
    why="A `.mimo` file is UTF-8 text.",
)
USE_MISSING: Final = Code(
    id="MIMO010",
    title="used file not found",
    why="The path of a `use` is relative to the using file; `presets/…` also finds the presets "
    "that are shipped.",
    example='use "presets/nowhere.mimo"\n',
)
USE_ESCAPES: Final = Code(
    id="MIMO011",
    title="used file outside the spec's folder",
    why="A spec can be moved as one folder: what it uses lies in the main spec's folder or below, "
    "also when symbolic links are followed. Shipped presets are the exception.",
    example='use "../elsewhere.mimo"\n',
)
USE_CYCLE: Final = Code(
    id="MIMO012",
    title="files use each other",
    why="A file that uses itself, directly or through others, has no order in which to be read. "
    "A chain of files that use each other has at most 64.",
)
TOO_MANY_MISTAKES: Final = Code(
    id="MIMO013",
    title="too many mistakes",
    why="After a hundred mistakes the text is hardly a spec, and the rest of it is not looked at.",
)
TOO_LARGE: Final = Code(
    id="MIMO014",
    title="spec too large",
    why="A spec with all that it uses has at most 256 files, 512 declarations and 64 KiB of text, "
    "a hundred times what large models need, so that checking any text takes no time.",
)

NOT_JSON: Final = Code(
    id="MIMO015",
    title="not JSON",
    why="A file whose name ends in `.json`, and standard input that begins with `{`, is one JSON "
    "document. No object has a key twice.",
)
NOT_A_DOCUMENT: Final = Code(
    id="MIMO016",
    title="JSON that is no spec",
    why="A spec as JSON has the objects and fields of the published JSON Schema. The message names "
    "the object by its path in the document.",
)

# Names and declarations.

DUPLICATE: Final = Code(
    id="MIMO101",
    title="declared twice",
    why="A constant, preset, grid or module has one declaration in the whole spec, used files "
    "included; and there is one `place`, one `schedule` and one `train`.",
    example="let replicas = 2\nlet replicas = 4\n",
)
UNKNOWN_WORD: Final = Code(
    id="MIMO102",
    title="unknown constant",
    why="A bare word is the name of a `let` of this file or of one that it uses.",
    example="let replicas = 2\nlet ranks = 2 * replica\n",
)
UNKNOWN_KIND: Final = Code(
    id="MIMO103",
    title="unknown kind or preset",
    why="Behind the colon of a module or preset stands a kind of the language, or a preset of "
    "this file or of one that it uses.",
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
    why="Constants may be declared in any order, but none may need its own value.",
    example="let ranks = 2 * replicas\nlet replicas = ranks // 2\n",
)
PRESET_CYCLE: Final = Code(
    id="MIMO107",
    title="presets based on each other",
    why="A chain of presets ends at a kind.",
    example="preset small : tiny {\n}\n\npreset tiny : small {\n}\n",
)
RESERVED: Final = Code(
    id="MIMO108",
    title="reserved name",
    why="`true`, `false`, `none` and `_` are values, and a kind's name stands for the kind; "
    "nothing else may be called so.",
    example="let none = 0\n",
)
MISSING_DECLARATION: Final = Code(
    id="MIMO109",
    title="missing declaration",
    why="A spec needs at least one grid and a schedule, and a placement when it has several grids.",
    example="grid llm {\n  dense = tp:2\n}\n",
)
NOT_IN_USED_FILE: Final = Code(
    id="MIMO110",
    title="declaration that a used file may not hold",
    why="`use` brings in constants, presets, grids and modules. A placement, flow, schedule or "
    "training belongs to the main spec, where it is read beside what it joins.",
)
SET_UNKNOWN: Final = Code(
    id="MIMO111",
    title="--set of an unknown constant",
    why="`--set name=value` replaces the value of a `let` of the main spec.",
)
SET_VALUE: Final = Code(
    id="MIMO112",
    title="--set to a value of another type",
    why="A constant keeps its type when it is set from outside: the new value is written as in the "
    "language, and an integer stays an integer.",
)
BROKEN_KIND: Final = Code(
    id="MIMO113",
    title="kind of an installed package that cannot be had",
    why="A package names a kind of its own with an entry point. It is imported when a spec uses "
    "it, and has to be a CustomEncoder, a CustomProjector or a CustomLanguage of the same keyword, "
    "whose fields are knobs.",
)
SENSELESS_KIND: Final = Code(
    id="MIMO114",
    title="kind of another package without sizes",
    why="A kind of another package says what goes in and comes out, which weights there are and "
    "what an input costs, with the values that a spec gives it. Where it fails at that, or says "
    "what is no size, nothing can be planned or built.",
)

# Values and fields.

UNKNOWN_FIELD: Final = Code(
    id="MIMO201",
    title="unknown field",
    why="A block takes the fields of its kind and no others, so a mistyped one cannot be ignored.",
    example="train {\n  precison = bf16\n}\n",
)
WRONG_TYPE: Final = Code(
    id="MIMO202",
    title="value of the wrong type",
    why="Every field has a type, and values are not converted from one to another.",
    example='train {\n  seed = "1234"\n}\n',
)
OUT_OF_BOUNDS: Final = Code(
    id="MIMO203",
    title="value out of bounds",
    why="A field's own constraint, which needs no other field to be judged.",
    example="schedule 1f1b {\n  sequence = 0\n}\n",
)
MISSING_FIELD: Final = Code(
    id="MIMO204",
    title="missing field",
    why="A field without a default is set by the module or by its preset.",
    example="schedule 1f1b {\n  microbatches = 8\n}\n",
)
DUPLICATE_FIELD: Final = Code(
    id="MIMO205",
    title="field set twice",
    why="A block sets each field once; so do a grid's views and `ranks`, and a view's axes.",
    example="train {\n  seed = 1\n  seed = 2\n}\n",
)
UNKNOWN_CHOICE: Final = Code(
    id="MIMO206",
    title="unknown choice",
    why="A field that takes one of several words takes no other.",
    example="train {\n  precision = bf61\n}\n",
)
BAD_ARITHMETIC: Final = Code(
    id="MIMO207",
    title="arithmetic that has no value",
    why="`+ - * // %` work on integers of up to 64 bits, and nothing divides by zero.",
    example="let replicas = 8 // 0\n",
)
NOT_A_CONSTANT: Final = Code(
    id="MIMO208",
    title="value that a constant cannot have",
    why="A `let` is an integer, float, string, boolean, size or list of those; fields that belong "
    "together are a `preset`.",
    example="let optimizer = adamw { lr = 1e-4 }\n",
)
BAD_FILL: Final = Code(
    id="MIMO209",
    title="axis that cannot be filled",
    why="`_` stands for what the other axes of the view leave of the grid's ranks. There is one in "
    "a view, the ranks are known, and the other axes divide them.",
    example="grid llm {\n  ranks = 8\n  dense = tp:3 * dp:_\n}\n",
)
EMPTY_GRID: Final = Code(
    id="MIMO210",
    title="grid without a view",
    why="A grid is the product of its base view's axes.",
    example="grid llm {\n}\n",
)

# Rules themselves.

BROKEN_RULE: Final = Code(
    id="MIMO901",
    title="rule that fails itself",
    why="What a rule looks for is not known of the spec, since the rule stopped with an error of "
    "its own: a bug of mimodsl, or of the package that brings the rule. The others have run.",
)

CODES: Final[dict[str, Code]] = {
    code.id: code for code in tuple(globals().values()) if isinstance(code, Code)
}
