"""Networks as native objects: export a model as an object file with a C interface, and load it again.

st.export_native(model, "net", batch=8, target="x86-64-v3,x86-64-v4")      net.o, net.h, net_test.c, net.json
network = st.native.load("net")                                            runs it from Python
"""

from striate.native.export import NativeExport, export_native
from striate.native.loaded import NativeNetwork, load

__all__ = ["NativeExport", "NativeNetwork", "export_native", "load"]
