"""Packs wheels into one small archive, for a machine with GPUs that reaches no package registry.

    python benchmarks/bundle.py WHEEL... --arch 90 --out bundle.tar.xz

There, `tar -xJf bundle.tar.xz -C site` and `PYTHONPATH=site:$PWD` are all. Libraries carry machine
code for every GPU that they know; that of other architectures than --arch is left out, so that
Transformer Engine takes 9 MB in place of 180. So is mamba_ssm's scan of Mamba 1, which its package
imports and Mamba 2, whose kernels are Triton's, never calls.
"""

import argparse
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

MAGIC: Final = struct.pack("<I", 0xBA55ED50)
"""With which a fat binary begins: then its version, the size of this header, and its own."""

PTX, CUBIN = 1, 2
"""Kinds of entries: text that the driver compiles, and machine code."""

NOT_CALLED: Final = "selective_scan_cuda"


def slim(library: bytearray, arch: int) -> int:
    """Blank out code of other GPUs in a shared library; the bytes that are blank then."""
    blank, at = 0, library.find(MAGIC)
    while at >= 0:
        _, version, header, size = struct.unpack_from("<IHHQ", library, at)
        entry, end = at + header, at + header + size
        # The magic number may stand in code by chance: what follows it is read with care.
        while version == 1 and header == 16 and entry < end <= len(library):
            kind, _, header_size, code = struct.unpack_from("<HHIQ", library, entry)
            if kind not in (PTX, CUBIN) or entry + header_size + code > end:
                break
            (own,) = struct.unpack_from("<I", library, entry + 28)
            if (kind, own) != (CUBIN, arch):
                library[entry + header_size : entry + header_size + code] = bytes(code)
                blank += code
            entry += header_size + code
        at = library.find(MAGIC, max(at + 4, entry))
    return blank


def unpacked(wheels: list[Path], arch: int, site: Path) -> None:
    """Lay the wheels out in a folder as pip would, their libraries slim."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)  # noqa: S202 - wheels that one would install
    for path in site.glob(f"{NOT_CALLED}*.so"):
        path.unlink()
        (site / f"{NOT_CALLED}.py").write_text('"""Left out of this bundle."""\n')
    for path in site.rglob("*.so*"):
        library = bytearray(path.read_bytes())
        if blank := slim(library, arch):
            path.write_bytes(library)
            print(f"{path.name}: {blank / 1e6:.0f} of {len(library) / 1e6:.0f} MB left out")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheels", metavar="WHEEL", type=Path, nargs="+")
    parser.add_argument("--arch", type=int, default=90, help="of the GPU: 90 is Hopper's")
    parser.add_argument("--out", type=Path, default=Path("bundle.tar.xz"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        unpacked(options.wheels, options.arch, site)
        with tarfile.open(options.out, "w:xz") as archive:
            archive.add(site, ".")
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
