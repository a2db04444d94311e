"""The density of a model as one C function, which a sampler calls without Python: graph, C text, compiled library."""

from pyrovae.engine.posterior.native.library import Native, NativeCall, check_native, native_call
from pyrovae.engine.posterior.native.text import UnsupportedError

__all__ = ["Native", "NativeCall", "UnsupportedError", "check_native", "native_call"]
