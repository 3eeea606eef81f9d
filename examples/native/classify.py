"""Classify samples of float32 from standard input with a shared library, using ctypes and NumPy alone.

striate export runs/digits --native --shared -o net/
python examples/native/classify.py net/net.so < samples.f32

Where striate is installed, ``st.native.load("net")(x)`` does the same with any number of threads.
"""

import ctypes
import sys

import numpy as np


def main() -> None:
    """Print the name of the class of each sample."""
    net = ctypes.CDLL(sys.argv[1])
    net.net_scratch_size.restype = ctypes.c_size_t
    net.net_class_name.restype = net.net_status_text.restype = ctypes.c_char_p
    net.net_input_shape.restype = ctypes.POINTER(ctypes.c_int32)
    shape = tuple(net.net_input_shape()[: net.net_input_rank()])
    samples = np.frombuffer(sys.stdin.buffer.read(), np.float32).reshape(-1, *shape)

    alignment = net.net_alignment()
    memory = np.zeros(net.net_scratch_size(1) + alignment, np.uint8)
    scratch = memory[-memory.ctypes.data % alignment :]
    scores = np.empty(net.net_output_size(), np.float32)
    for sample in samples:
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (sample, scores, scratch)]
        status = net.net_run_batch(1, *pointers, None)
        if status != 0:
            sys.exit(net.net_status_text(status).decode())
        best = int(scores.argmax())
        name = net.net_class_name(best)
        print(f"class {best}" if name is None else name.decode())


main()
