"""Limits on the size of a spec and its numbers, so that checking any text is fast."""

from typing import Final

MAX_CHARACTERS: Final = 2**16
"""Characters of a spec with all files it uses, and bytes of each file. A usual spec has a few
thousand.
"""

MAX_DEPTH: Final = 32
"""Depth of nested brackets."""

MAX_CHAIN: Final = 64
"""Files in a chain in which each file uses the next one."""

MAX_FILES: Final = 256
"""Files of a spec."""

MAX_DECLARATIONS: Final = 512
"""Declarations of a spec with all files it uses."""

MAX_INTEGER: Final = 2**63 - 1
"""Largest integer, also as the result of arithmetic: other programs read 64 bits."""

MAX_MISTAKES: Final = 100
"""Mistakes after which the reading of a file, or lowering, stops."""
