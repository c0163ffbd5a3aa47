"""How large a spec may be, and its numbers, so that no text keeps the checker busy for long."""

from typing import Final

MAX_CHARACTERS: Final = 2**16
"""Of a spec with all that it uses, and bytes of each of its files; a spec has some thousand."""

MAX_DEPTH: Final = 32
"""Of brackets in each other."""

MAX_CHAIN: Final = 64
"""Of files that use each other in turn."""

MAX_FILES: Final = 256
"""That a spec consists of."""

MAX_DECLARATIONS: Final = 512
"""Of a spec with all that it uses."""

MAX_INTEGER: Final = 2**63 - 1
"""Of integers and what they come to: as many bits as other programs read."""

MAX_MISTAKES: Final = 100
"""After which reading a file, and then lowering, stops."""
