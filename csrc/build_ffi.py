"""The cffi builder of `privcomp._core._privcomp`, with the declarations of include/privcomp.h: one source of truth."""

import re
import sys
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "csrc" / "include" / "privcomp.h"


def declarations(header: str) -> str:
    """What cffi parses of the header: comments and guards go, and the C compiler gives each constant its value."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    lines = []
    for line in text.splitlines():
        constant = re.match(r"#define (\w+)[ \t]+\S", line)
        if constant:
            lines.append(f"#define {constant[1]} ...")
        elif not line.startswith("#"):
            lines.append(line)
    return "\n".join(lines)


def relative(pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


ffi = FFI()
ffi.cdef(declarations(HEADER.read_text(encoding="utf-8")))
ffi.set_source(
    "privcomp._core._privcomp",
    '#include "privcomp.h"',
    sources=relative("csrc/src/*.c"),
    include_dirs=["csrc/include", "csrc/src"],
    depends=relative("csrc/src/*.h") + relative("csrc/include/*.h"),
    # No -march: what a CPU can do is found out at run time (csrc/src/dispatch.c).
    # No fused products and sums: floats are the same on every machine (csrc/src/encode.h).
    extra_compile_args=["-O3", "-fvisibility=hidden", "-ffp-contract=off"] if sys.platform != "win32" else [],
    py_limited_api=True,
)
