"""Files written by hand, each to catch one weakness that a reader of its kind could have.

The name of a trap says what it is about. Each returns the files of one case, for a kind of ``kinds``.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable

Files = dict[str, bytes]
Trap = Callable[[], Files]
TRAPS: defaultdict[str, list[Trap]] = defaultdict(list)


def trap(kind: str) -> Callable[[Trap], Trap]:
    """Return a decorator that adds a function to the traps of a kind."""

    def add(function: Trap) -> Trap:
        TRAPS[kind].append(function)
        return function

    return add


# Arrays


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode("latin-1") + data


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    with io.BytesIO() as stream:
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, method)
        return stream.getvalue()


@trap("arrays")
def a_shape_larger_than_memory() -> Files:
    return {"t.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 9), }\n")}


@trap("arrays")
def a_shape_of_a_gigabyte() -> Files:
    return {"t.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (15000000, 9), }\n", bytes(80))}


@trap("arrays")
def a_shape_whose_product_overflows() -> Files:
    return {"t.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n")}


@trap("arrays")
def an_unfinished_header() -> Files:
    return {"t.npy": npy("{'descr': '<f8', 'shape': (\n")}


@trap("arrays")
def a_header_of_parentheses() -> Files:
    return {"t.npy": npy("(" * 9000)}


@trap("arrays")
def texts_without_letters() -> Files:
    return {"t.npy": npy("{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000, 9), }\n")}


@trap("arrays")
def labels_without_an_axis() -> Files:
    return {
        "t.npy": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }\n", bytes(4)),
        "t_y.npy": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (), }\n", bytes(1)),
    }


@trap("archives of arrays")
def an_entry_that_declares_a_terabyte() -> Files:
    array = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (130000000000,), }\n", bytes(80))
    return {"t.npz": zipped({"x.npy": array})}


@trap("archives of arrays")
def an_archive_in_lzma() -> Files:
    return {"t.npz": zipped({"x.npy": bytes(1000)}, zipfile.ZIP_LZMA)}


# Tables


@trap("tables")
def sixty_thousand_columns() -> Files:
    return {"t.csv": b",".join(b"c%d" % number for number in range(60_000)) + b"\n" + b"1," * 59_999 + b"a\n"}


@trap("tables")
def one_long_cell_among_many_rows() -> Files:
    return {"t.csv": b"x,label\n" + b"1,a\n2,b\n" * 20_000 + b"9" * 100_000 + b",a\n"}


@trap("tables")
def a_cell_of_200_kB() -> Files:
    return {"t.csv": b"x,label\n1,a\n2,b\n" + b'"' + b"x" * 200_000 + b'",a\n'}


@trap("folders")
def a_label_of_200_kB() -> Files:
    return {
        "d/labels.csv": b'file,label\n1.png,"' + b"x" * 200_000 + b'"\n',
        "d/1.png": png(4, 4),
        "d/2.png": png(4, 4),
    }


@trap("series")
def many_channels_and_one_long_one() -> Files:
    return {"t.ts": b"@classLabel true a\n@data\n" + b"1:" * 40_000 + b",".join([b"2"] * 40_000) + b":a\n"}


@trap("series")
def four_long_cases_among_many_short_ones() -> Files:
    short = b"1,2:a\n3,4:b\n" * 10_000
    return {"t.ts": b"@classLabel true a b\n@data\n" + short + (b",".join([b"2"] * 15_000) + b":a\n") * 4}


# Archives


def header(name: bytes, size: bytes, form: bytes = b"0", magic: bytes = b"ustar\x0000", prefix: bytes = b"") -> bytes:
    """Return the header of a tar archive, with a right checksum; ``size`` is the field of 12 bytes."""
    start = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size.ljust(12, b"\0") + b"00000000000\0"
    end = form + bytes(100) + magic + bytes(64) + b"\0" * 16 + prefix.ljust(155, b"\0") + bytes(12)
    return start + b"%06o\0 " % sum(start + b" " * 8 + end) + end


def octal(size: int) -> bytes:
    return b"%011o\0" % size


@trap("tars")
def a_negative_size() -> Files:
    return {"d.tar": header(b"a/1.png", b"\xff" * 11 + b"\x01") + bytes(1024)}


@trap("tars")
def a_size_of_2_to_the_60() -> Files:
    return {"d.tar": header(b"a/1.png", b"\x80" + (1 << 60).to_bytes(11, "big")) + bytes(1024)}


@trap("tars")
def a_long_name_of_8_GB() -> Files:
    return {"d.tar": header(b"././@LongLink", b"77777777777\0", b"L") + bytes(1024)}


@trap("tars")
def a_million_digits_in_a_pax_header() -> Files:
    content = b"1" * 1_000_000
    return {"d.tar": header(b"x", octal(len(content)), b"x") + content + bytes(1024)}


@trap("tars")
def three_thousand_long_names_in_a_row() -> Files:
    return {"d.tar": (header(b"x", octal(4), b"L") + b"name".ljust(512, b"\0")) * 3000 + bytes(1024)}


@trap("tars")
def a_name_that_leads_out() -> Files:
    return {"d.tar": header(b"a/../../out.png", octal(0)) + bytes(1024)}


@trap("tars")
def a_link_to_a_password() -> Files:
    return {"d.tar": header(b"a/1.png", octal(0), b"2") + bytes(1024)}


@trap("tars")
def a_sparse_file() -> Files:
    return {"d.tar": header(b"a/1.png", octal(0), b"S") + bytes(1024)}


@trap("tars")
def an_xz_dictionary_of_1_5_GB() -> Files:
    filters = [
        {"id": lzma.FILTER_LZMA2, "dict_size": 1536 << 20, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 16}
    ]
    small = bytearray(lzma.compress(header(b"a/1.png", octal(0)) + bytes(1024), preset=0))
    # The dictionary's size is one byte of the block header, whose CRC-32 follows; packing with it would need 15 GB.
    place = small.index(b"\x21\x01") + 2
    small[place] = 2 * (31 - 12) + 1 if filters else 0
    end = 12 + (small[12] + 1) * 4
    small[end - 4 : end] = zlib.crc32(small[12 : end - 4]).to_bytes(4, "little")
    return {"d.tar.xz": bytes(small)}


@trap("tars")
def a_damaged_gzip_stream() -> Files:
    packed = bytearray(gzip.compress(header(b"a/1.png", octal(600)) + bytes(range(256)) * 8))
    packed[len(packed) // 2] ^= 255
    return {"d.tar.gz": bytes(packed)}


@trap("zips")
def a_zip_in_lzma_with_a_dictionary_of_4_GB() -> Files:
    packed = bytearray(zipped({"a/1.png": bytes(3000), "b/2.png": bytes(30)}, zipfile.ZIP_LZMA))
    place = packed.index(b"\x09\x04\x05\x00")
    packed[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    return {"d.zip": bytes(packed)}


@trap("zips")
def a_name_of_six_thousand_digits() -> Files:
    return {"d.zip": zipped({"a/" + "7" * 6000 + ".png": png(4, 4), "b/8.png": png(4, 4)})}


@trap("zips")
def a_name_that_is_not_utf8() -> Files:
    packed = zipped({"a/é.png": png(4, 4), "b/8.png": png(4, 4)})
    return {"d.zip": packed.replace("é".encode(), b"\xff\xfe")}


@trap("zips")
def eight_thousand_tables() -> Files:
    files = {f"{number}.csv": b"" for number in range(8000)}
    return {"d.zip": zipped({**files, "a/1.png": png(4, 4), "b/2.png": png(4, 4)}, zipfile.ZIP_STORED)}


@trap("zips")
def names_with_a_dot() -> Files:
    files = {f"./{label}/{number}.png": png(4, 4) for label in "ab" for number in range(5)}
    return {"d.zip": zipped(files)}


@trap("zips")
def an_archive_within_an_archive() -> Files:
    inner = zipped({f"{label}/{number}.png": png(4, 4) for label in "ab" for number in range(3)})
    for _ in range(20):
        inner = zipped({"inner.zip": inner})
    return {"d.zip": inner}


# Pictures


def png(width: int, height: int, depth: int = 8, data: bytes | None = None) -> bytes:
    """Return a grey PNG of zeros, with the data of a small one if ``data`` is b""."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = bytes((width * depth // 8 + 1) * height) if data is None else data
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@trap("pictures")
def a_picture_of_2_to_the_60_pixels() -> Files:
    return {"p.png": png(1 << 30, 1 << 30, data=b"")}


@trap("pictures")
def a_picture_of_169_million_pixels() -> Files:
    return {"p.png": png(13_000, 13_000, data=b"")}


@trap("pictures")
def a_text_picture_of_many_pixels() -> Files:
    return {"p.pgm": b"P2 60000 60000 255 1 2 3"}


@trap("folders")
def ten_pictures_of_169_million_pixels() -> Files:
    return {f"d/{'ab'[number % 2]}/{number}.png": png(13_000, 13_000, data=b"") for number in range(10)}


@trap("folders")
def deep_pictures_that_end_early() -> Files:
    good = {f"d/{label}/{number}.png": png(4, 4, 16) for label in "ab" for number in range(3)}
    return {**good, "d/a/9.png": png(4, 4, 16, data=b"short")}


# Texts


@trap("configurations")
def brackets_without_end() -> Files:
    return {"c.toml": b"data = " + b"[" * 50_000}


@trap("configurations")
def a_number_of_five_thousand_digits() -> Files:
    return {"c.toml": b"epochs = " + b"9" * 5000}


@trap("configurations")
def thousands_of_lines_that_look_like_options() -> Files:
    return {"c.toml": b'data = """\n' + b"lr = 1\n" * 14_000 + b'"""\nlr = "x"\n'}


@trap("configurations")
def a_deep_table() -> Files:
    return {"c.toml": b"model" + b".a" * 40_000 + b" = 1\n"}


def run_file(**changes: object) -> Files:
    run: dict[str, object] = {
        "format": "striate run 1", "data": "digits", "arguments": {"model": "mlp", "epochs": 1, "batch_size": 64},
        "seed": 0,
        "finished": True, "history": {"epochs": [], "finished": True}, "evaluation": None, "findings": [],
        "versions": {},
        "data_options": {}, "inputs": None, "centring": None,
    }  # fmt: skip
    return {"run/run.json": json.dumps({**run, **changes}).encode()}


@trap("runs")
def a_number_of_four_hundred_digits_in_an_epoch() -> Files:
    return run_file(history={"epochs": [{"number": 1, "loss": 10**400}]})


@trap("runs")
def epochs_that_are_no_list() -> Files:
    return run_file(history={"epochs": 7})


@trap("runs")
def findings_that_are_numbers() -> Files:
    return run_file(findings=[1, None])


@trap("runs")
def options_of_other_types() -> Files:
    return run_file(data_options={"kind": "table", "fill": [[]], "limits": 3, "columns": 7})


@trap("runs")
def a_range_of_texts() -> Files:
    return run_file(inputs={"low": "abc", "high": [1], "spread": None, "deviation": [[]], "dark": 1, "size": [1]})


@trap("runs")
def arguments_of_other_types() -> Files:
    return run_file(arguments={"epochs": "many", "model": ["mlp"], "batch_size": {}})


@trap("runs")
def a_record_with_infinite_numbers() -> Files:
    lines = [b'{"kind": "plan", "time": 1e999, "epochs": 2}',
    b'{"kind": "epoch", "time": 1, "number": 1, "loss": 1e999}',
             b'{"kind": "batch", "time": 1, "epoch": 1, "loss": ' + b"9" * 400 + b"}", b"[" * 100_000]  # fmt: skip
    return {**run_file(), "run/progress.jsonl": b"\n".join([*lines, b""])}


@trap("runs")
def deep_json() -> Files:
    return {"run/run.json": b"[" * 100_000}


@trap("models")
def a_whole_number_of_four_thousand_digits() -> Files:
    text = b'{"w": {"dtype": "F32", "shape": [' + b"9" * 4000 + b'], "data_offsets": [0, 0]}}'
    return {"m.safetensors": struct.pack("<Q", len(text)) + text}
