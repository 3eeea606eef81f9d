"""Write an ONNX network as plain C: one function of nested loops for each node, as onnx2c writes them.

The loops compute one sample. All arrays are static; the compiler sees every size. The weights are read from standard
input when the program starts, then the input; the program prints the median time of a call in microseconds to standard
error, and the output to standard output. Only the nodes of the benchmark's networks are known.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class UnknownNodeError(Exception):
    """Raised for a node that this script cannot write."""


HEAD = """#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
"""

MAIN = """
static int ascending(const void *a, const void *b)
{{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}}

int main(int count, char **arguments)
{{
    int calls = count > 1 ? atoi(arguments[1]) : 1;
    double *times = malloc(calls * sizeof(double));
{reads}
    for (int i = 0; i < calls; i++) {{
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
{calls}
        clock_gettime(CLOCK_MONOTONIC, &end);
        times[i] = (end.tv_sec - start.tv_sec) * 1e6 + (end.tv_nsec - start.tv_nsec) / 1e3;
    }}
    qsort(times, calls, sizeof(double), ascending);
    fprintf(stderr, "%.3f\\n", times[calls / 2]);
    fwrite({output}, sizeof(float), sizeof({output}) / sizeof(float), stdout);
    return 0;
}}
"""

CONVOLUTION = """static void {name}(void)
{{
    for (int o = 0; o < {outputs}; o++)
        for (int oh = 0; oh < {oh}; oh++)
            for (int ow = 0; ow < {ow}; ow++) {{
                float sum = {bias};
                for (int c = 0; c < {channels}; c++)
                    for (int kh = 0; kh < {kh}; kh++) {{
                        int ih = oh * {sh} + kh - {ph};
                        if (ih < 0 || ih >= {ih})
                            continue;
                        for (int kw = 0; kw < {kw}; kw++) {{
                            int iw = ow * {sw} + kw - {pw};
                            if (iw < 0 || iw >= {iw})
                                continue;
                            sum += {x}[(o / {per_group} * {channels} + c) * {ih} * {iw} + ih * {iw} + iw]
                                * {w}[((o * {channels} + c) * {kh} + kh) * {kw} + kw];
                        }}
                    }}
                {y}[(o * {oh} + oh) * {ow} + ow] = sum;
            }}
}}
"""

POOLING = """static void {name}(void)
{{
    for (int c = 0; c < {channels}; c++)
        for (int oh = 0; oh < {oh}; oh++)
            for (int ow = 0; ow < {ow}; ow++) {{
                float most = -INFINITY;
                for (int kh = 0; kh < {kh}; kh++)
                    for (int kw = 0; kw < {kw}; kw++) {{
                        int ih = oh * {sh} + kh - {ph}, iw = ow * {sw} + kw - {pw};
                        if (ih < 0 || ih >= {ih} || iw < 0 || iw >= {iw})
                            continue;
                        float value = {x}[(c * {ih} + ih) * {iw} + iw];
                        most = most > value ? most : value;
                    }}
                {y}[(c * {oh} + oh) * {ow} + ow] = most;
            }}
}}
"""

PRODUCT = """static void {name}(void)
{{
    for (int o = 0; o < {outputs}; o++) {{
        float sum = {bias};
        for (int c = 0; c < {inputs}; c++)
            sum += {x}[c] * {w}[{index}];
        {y}[o] = sum;
    }}
}}
"""

ELEMENTS = """static void {name}(void)
{{
    for (int i = 0; i < {size}; i++)
        {y}[i] = {expression};
}}
"""

MEAN = """static void {name}(void)
{{
    for (int c = 0; c < {channels}; c++) {{
        float sum = 0;
        for (int i = 0; i < {size}; i++)
            sum += {x}[c * {size} + i];
        {y}[c] = sum / {size};
    }}
}}
"""


class PlainC:
    """The C program for an ONNX model with one input; ``text`` is the program, ``weights`` what it reads first."""

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper, shape_inference

        graph = shape_inference.infer_shapes(model).graph
        self._constants: dict[str, Array] = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self._shapes: dict[str, tuple[int, ...]] = {name: one.shape for name, one in self._constants.items()}
        for one in (*graph.input, *graph.value_info, *graph.output):
            sizes = [dim.dim_value or 1 for dim in one.type.tensor_type.shape.dim]
            self._shapes.setdefault(one.name, tuple(sizes))
        self._names: dict[str, str] = {}
        self._read: list[str] = []
        self._arrays: list[str] = []
        self._functions: list[str] = []
        self._calls: list[str] = []
        given = next(one.name for one in graph.input if one.name not in self._constants)
        for node in graph.node:
            self._node(node)
        reads = [*self._read, self._array(given)]
        self.weights = b"".join(self._constants[name].astype("<f4").tobytes() for name in self._used())
        self.text = "\n".join(
            [
                HEAD,
                *self._arrays,
                *self._functions,
                MAIN.format(
                    reads="\n".join(
                        f"    if (fread({one}, sizeof(float), sizeof({one}) / sizeof(float), stdin) == 0)\n"
                        "        return 1;"
                        for one in reads
                    ),
                    calls="\n".join(f"        {name}();" for name in self._calls),
                    output=self._array(graph.output[0].name),
                ),
            ]
        )

    def _used(self) -> list[str]:
        """Return the names of the constants that the program reads, in the order in which it reads them."""
        return [name for name, array in self._names.items() if array in self._read]

    def _array(self, name: str) -> str:
        """Return the C name of an array, and declare it at its first use."""
        if name not in self._names:
            found = self._names[name] = f"a{len(self._names)}"
            self._arrays.append(f"static float {found}[{math.prod(self._shapes[name])}];")
            if name in self._constants:
                self._read.append(found)
        return self._names[name]

    def _node(self, node: Any) -> None:
        from onnx import helper

        options = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        kind, inputs, output = node.op_type, list(node.input), node.output[0]
        if kind == "Constant":
            from onnx import numpy_helper

            self._constants[output] = value = numpy_helper.to_array(options["value"])
            self._shapes[output] = value.shape
            return
        if kind in ("Flatten", "Reshape", "Identity", "Squeeze"):
            self._names[output] = self._array(inputs[0])
            return
        name = f"node{len(self._functions)}"
        x, shape = self._array(inputs[0]), self._shapes[inputs[0]]
        result = self._shapes.setdefault(output, shape)
        y = self._array(output)
        size = math.prod(result)
        if kind in ("Conv", "MaxPool"):
            known = {"kh": 0, "kw": 0}
            kernel = options.get("kernel_shape") or self._shapes[inputs[1]][2:]
            known["kh"], known["kw"] = kernel
            known["sh"], known["sw"] = options.get("strides", (1, 1))
            known["ph"], known["pw"] = options.get("pads", (0, 0, 0, 0))[:2]
            known |= {"ih": shape[2], "iw": shape[3], "oh": result[2], "ow": result[3]}
            if options.get("auto_pad", b"NOTSET") != b"NOTSET" or set(options.get("dilations", (1,))) != {1}:
                raise UnknownNodeError(f"{kind} with {options}")
            if kind == "MaxPool":
                text = POOLING.format(name=name, x=x, y=y, channels=shape[1], **known)
            else:
                outputs, channels = self._shapes[inputs[1]][:2]
                bias = f"{self._array(inputs[2])}[o]" if len(inputs) > 2 else "0"
                per_group = outputs // options.get("group", 1)
                text = CONVOLUTION.format(
                    name=name, x=x, y=y, w=self._array(inputs[1]), bias=bias, channels=channels, outputs=outputs,
                    per_group=per_group, **known,
                )  # fmt: skip
        elif kind in ("Gemm", "MatMul"):
            rows, columns = self._shapes[inputs[1]]
            turned = bool(options.get("transB", 0))
            outputs, count = (rows, columns) if turned else (columns, rows)
            bias = f"{self._array(inputs[2])}[o]" if len(inputs) > 2 else "0"
            index = f"o * {count} + c" if turned else f"c * {outputs} + o"
            text = PRODUCT.format(
                name=name, x=x, y=y, w=self._array(inputs[1]), bias=bias, outputs=outputs, inputs=count, index=index
            )
        elif kind in ("GlobalAveragePool", "ReduceMean"):
            channels = shape[1]
            text = MEAN.format(name=name, x=x, y=y, channels=channels, size=math.prod(shape[2:]))
        else:
            text = ELEMENTS.format(name=name, y=y, size=size, expression=self._element(kind, inputs, x, options, size))
        self._functions.append(text)
        self._calls.append(name)

    def _element(self, kind: str, inputs: list[str], x: str, options: dict[str, Any], size: int) -> str:
        if kind == "BatchNormalization":
            weight, bias, mean, variance = (self._constants[name].astype(np.float64) for name in inputs[1:5])
            scale = weight / np.sqrt(variance + options.get("epsilon", 1e-5))
            for name, array in ((f"{inputs[0]}.scale", scale), (f"{inputs[0]}.shift", bias - mean * scale)):
                self._constants[name], self._shapes[name] = array.astype(np.float32), array.shape
            channel = f"i / {size // scale.size}"
            scale_of, shift_of = (self._array(f"{inputs[0]}.{name}") for name in ("scale", "shift"))
            return f"{x}[i] * {scale_of}[{channel}] + {shift_of}[{channel}]"
        if kind == "LeakyRelu":
            return f"{x}[i] < 0 ? {x}[i] * {float(options.get('alpha', 0.01))!r}f : {x}[i]"
        if kind == "Relu":
            return f"{x}[i] < 0 ? 0 : {x}[i]"
        if kind == "Add":
            other = math.prod(self._shapes[inputs[1]])
            if other == size:
                return f"{x}[i] + {self._array(inputs[1])}[i]"
        raise UnknownNodeError(kind)


def write(model: Any, x: Array, folder: Path) -> tuple[str, bytes]:
    """Write ``plain.c`` for an ONNX model into a folder; return its name, and what the program reads from its input.

    Raises ``UnknownNodeError`` for a model with nodes that this script does not know.
    """
    plain = PlainC(model)
    (folder / "plain.c").write_text(plain.text)
    return "plain.c", plain.weights + x.astype("<f4").tobytes()
