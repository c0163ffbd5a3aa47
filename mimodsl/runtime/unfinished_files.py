"""What is written beside its place until it is whole, and removed where that was broken off."""

import shutil
from pathlib import Path
from typing import Final

UNFINISHED: Final = ".unfinished-"
"""What the names of such files and folders begin with."""


def remove_unfinished(folder: Path) -> None:
    """Remove what was left over in a folder by writers that were ended. Raises `OSError`."""
    for left in folder.glob(f"{UNFINISHED}*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)
