from typing import Any

# cffi makes both at build time from csrc/include/privcomp.h.
ffi: Any
lib: Any
