"""Makes ``cpu.so`` of all sources here, for the torch of the Python that runs this; needs a C++ compiler.

Usage: ``python build.py TARGET_FOLDER``. It does nothing when the library there is of the same source and torch.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
TORCH = Path(torch.__file__).parent
COMPILE = [
    *("g++", "-c", "-std=c++20", "-O3", "-fopenmp", "-fPIC"),
    # AVX2 and FMA. AVX-512 gained nothing: heads are too short for longer vectors.
    "-march=x86-64-v3",
    # So that sums may be made in vectors; nothing that changes how infinities or subnormal numbers are treated.
    *(
        "-fassociative-math",
        "-fno-signed-zeros",
        "-fno-trapping-math",
        "-fno-math-errno",
        "-freciprocal-math",
    ),
    f"-isystem{TORCH / 'include'}",
    # What the compiler takes for an overflow in torch's reference counts when a class of ours is handed to Python
    "-Wno-stringop-overflow",
]
# OpenMP's library is not named: it must be the one that torch brings, whose name differs from build to build.
LINK = ["g++", "-shared", f"-L{TORCH / 'lib'}", "-Wl,--no-as-needed", "-ltorch_cpu", "-lc10"]


def main(folder: Path) -> int:
    """Build and return the exit code, with one line on what is wrong."""
    library, stamp = folder / "cpu.so", folder / "cpu.so.stamp"
    texts = [source.read_text() for source in SOURCES]
    made_of = hashlib.sha256(f"{torch.__version__} {COMPILE} {LINK} {texts}".encode()).hexdigest()
    if library.exists() and stamp.exists() and stamp.read_text() == made_of:
        return 0
    try:
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            linked = Path(unfinished, "cpu.so")
            code = [Path(unfinished, source.name).with_suffix(".o") for source in SOURCES]
            for source, target in zip(SOURCES, code, strict=True):
                subprocess.run([*COMPILE, source, "-o", target], check=True)
            subprocess.run([*LINK, *code, "-o", linked], check=True)
            linked.replace(library)
    except FileNotFoundError:
        sys.stderr.write("error: there is no C++ compiler — install g++ (Debian: apt-get install g++)\n")
        return 1
    except subprocess.CalledProcessError:
        sys.stderr.write(f"error: {SOURCES[0].parent} was not compiled, for the reason above\n")
        return 1
    stamp.write_text(made_of)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
