"""The kinds of files that striate reads: valid examples of each, how they are opened, and how they are changed.

An example is a dictionary of relative paths and contents, the files of one folder. ``opened`` are functions that open
such a folder as the command line or the Python interface does; they return, or raise one of striate's errors. Examples
are made by striate's own writers where it has them.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

import striate as st
from striate import nn
from striate.cli import app
from striate.cli.configuration import read_configuration
from striate.cli.option import options_of
from striate.cli.train import train
from striate.codegen.cache import Cache
from striate.data.cifar import load_cifar10
from striate.data.cifar_binary import load_cifar100
from striate.data.number_options import NumberOptions
from striate.data.numbers import read_inputs
from striate.data.picture import decoded, open_picture, read_picture
from striate.data.scan import scan_data
from striate.data.sources import Sources, paths_or_picture
from striate.export.onnx_file import onnx_bytes
from striate.lab.runs import Runs
from striate.persistence import predict_graph
from striate.persistence.torch import encode_state
from striate.train import read_progress
from striate.train.checkpoint import read_checkpoint
from striate.train.checkpoints import newest_checkpoint
from striate.train.run import read_run
from tests.campaign import mutations as m

Files = dict[str, bytes]
Open = Callable[[Path], object]
MB = 1_000_000


@dataclass(frozen=True)
class Kind:
    """A kind of files.

    examples  returns valid cases
    opened    ways to open a folder with such files; each case is opened in one of them
    changes   the changes of a file, by the end of its name; all others are changed as any file
    room      bytes that opening may allocate beyond four times the files: for the shapes that they may declare
    """

    examples: Callable[[], list[Files]]
    opened: tuple[Open, ...]
    changes: Mapping[str, tuple[m.Change, ...]] = field(default_factory=dict[str, tuple[m.Change, ...]])
    room: int = 0

    def changed(self, case: Files, draw: random.Random) -> Files:
        """Return the case with one to four changes of its files."""
        new = dict(case)
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            name = draw.choice(list(new))
            own = next((changes for ending, changes in self.changes.items() if name.lower().endswith(ending)), ())
            new[name] = m.changed(new[name], own if own and draw.random() < 0.75 else m.ANY, draw)
        return new


# Models


def network() -> nn.Sequential:
    """Return a small convolutional network."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(None, 2)
    )


def _written(write: Callable[[Path], object], name: str) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return {name: (Path(folder) / name).read_bytes()}


def models() -> list[Files]:
    def plain(path: Path) -> None:
        st.save(network(), path, input_shape=(1, 6, 6), classes=["no", "yes"])

    def standardized(path: Path) -> None:
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 1))
        model.standardizer = st.data.Standardizer.fit(np.arange(12.0).reshape(4, 3))
        st.save(model, path, input_shape=(3,))

    def residual(path: Path) -> None:
        body = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, groups=2), nn.GELU())
        st.save(nn.Sequential(nn.Residual(body), nn.AdaptiveAvgPool2d(1), nn.Flatten()), path, input_shape=(2, 5, 5))

    return [_written(write, "m.safetensors") for write in (plain, standardized, residual)]


def load_model(folder: Path) -> None:
    model = st.load(folder / "m.safetensors")
    repr(model), str(model.summary())
    predict_graph(model)


def onnx() -> list[Files]:
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(36, 3), nn.Softmax(1))
    return [{"m.onnx": onnx_bytes(model, (1, 6, 6))} for model in (network(), mlp)]


def load_onnx(folder: Path) -> None:
    repr(st.load(folder / "m.onnx"))


def torch() -> list[Files]:
    model = network()
    model.infer((1, 6, 6))
    state = encode_state(model.state_dict())
    return [{"m.pth": state}, _written(lambda path: st.save_torch_state(model, path), "m.safetensors")]


def load_torch(folder: Path) -> None:
    model = network()
    model.infer((1, 6, 6))
    st.load_torch_state(model, next(folder.iterdir()), strict=False)


def published() -> list[Files]:
    model = st.models.build("lenet5", channels=1, classes=3)
    model.infer((1, 28, 28))
    config = {
        "architecture": "lenet5", "num_classes": 3, "label_names": ["a", "b", "c"],
        "model_args": {"activation": "relu"},
        "pretrained_cfg": {"input_size": [1, 28, 28], "mean": [0.5], "std": [0.25]},
    }  # fmt: skip
    weights = _written(lambda path: st.save_torch_state(model, path), "model.safetensors")
    return [{"config.json": json.dumps(config).encode(), **weights}]


# Runs


def runs() -> list[Files]:
    """Return the run folder of a training of two epochs on a table, with its checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder) / "t.csv", Path(folder) / "run"
        data.write_bytes(table())
        words = ["--model", "mlp", "--depth", "1", "--width", "4", "--epochs", "2", "--ema", "0.9", "--patience", "9"]
        result = CliRunner().invoke(app, ["train", str(data), *words, "--out", str(run)])
        assert result.exit_code == 0, result.output
        files = {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    known = {name for name in files if not name.startswith((".", "curves"))}
    files["run.json"] = files["run.json"].replace(str(data).encode(), b"digits")
    return [{f"run/{name}": files[name] for name in sorted(known)}]


def checkpoints() -> list[Files]:
    return [
        {name: one[f"run/checkpoints/{name}"] for name in ("last.safetensors", "previous.safetensors")}
        for one in runs()
    ]


def command(*words: str) -> Open:
    """Return a function that calls the command line; "@" stands for the folder. An exception is a finding."""

    def call(folder: Path) -> None:
        result = CliRunner().invoke(app, [word.replace("@", str(folder)) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception

    return call


def read_everything(folder: Path) -> None:
    run = read_run(folder / "run")
    run.reading, run.number_options  # noqa: B018
    read_progress(folder / "run")


def follow(folder: Path) -> None:
    """Read the run as the lab does, and encode what its page is sent."""
    found = Runs(folder)
    entry = found.add(folder / "run")
    entry.story.advance()
    for document in (entry.summary(), entry.history(), entry.story.since(0)):
        json.dumps(document, allow_nan=False)


def newest(folder: Path) -> None:
    newest_checkpoint(folder, lambda text: None)


# Tables and arrays


def table() -> bytes:
    rows = [f"{number % 7},{number / 3:.3f},{'ab'[number % 2]}" for number in range(30)]
    return "\n".join(["x,y,label", *rows, ""]).encode()


def tables() -> list[Files]:
    wide = "\n".join(f"{number % 2};{number},5;;{number * 2}" for number in range(12))
    long = "series,time,v,label\n" + "\n".join(
        f"{one},{t},{one * t},{'pq'[one % 2]}" for one in range(8) for t in range(5)
    )
    return [
        {"t.csv": table()}, {"t.csv": wide.encode()}, {"t.csv": long.encode()}, {"t.csv": table().replace(b",", b"\t")},
        {"t_TRAIN.csv": table(), "t_TEST.csv": table()},
    ]  # fmt: skip


def series() -> list[Files]:
    head = "@problemName x\n@timeStamps false\n@classLabel true a b\n@data\n"
    cases = "\n".join(f"{n},2,3,{n}:4,?,6,NaN:{'ab'[n % 2]}" for n in range(10))
    return [
        {"t.ts": (head + cases + "\n").encode()},
        {"t_TRAIN.ts": (head + cases).encode(), "t_TEST.ts": (head + cases).encode()},
    ]


def _npy(array: np.ndarray) -> bytes:
    with io.BytesIO() as stream:
        np.save(stream, array)
        return stream.getvalue()


def arrays() -> list[Files]:
    x, y = np.arange(60, dtype=np.float32).reshape(20, 3), np.arange(20) % 2
    return [
        {"t.npy": _npy(x), "t_y.npy": _npy(y)},
        {"t.npy": _npy(np.zeros((12, 6, 6), np.uint8)), "t_y.npy": _npy(np.array(["a", "b"] * 6))},
        {"t.npy": _npy(np.zeros((8, 1, 3, 4, 5), ">i2")), "t_y.npy": _npy(np.arange(8) % 2)},
    ]


def archives_of_arrays() -> list[Files]:
    found: list[Files] = []
    for save in (np.savez, np.savez_compressed):
        with io.BytesIO() as stream:
            save(stream, x=np.zeros((20, 2, 9)), y=np.arange(20) % 2, groups=np.arange(20) // 4)
            found.append({"t.npz": stream.getvalue()})
    with io.BytesIO() as stream:
        np.savez_compressed(stream, x_train=np.ones((9, 4)), y_train=np.arange(9) % 2, x_test=np.ones((4, 4)),
        y_test=np.arange(4) % 2)  # fmt: skip
        return [*found, {"t.npz": stream.getvalue()}]


def _number_path(folder: Path) -> Path:
    """Return the file to open: the one for training of a pair."""
    names = sorted(path.name for path in folder.iterdir())
    return folder / next((name for name in names if "TRAIN" in name or name.startswith("t.")), names[0])


def open_numbers(folder: Path) -> None:
    st.data.open_data(_number_path(folder))


def open_windows(folder: Path) -> None:
    st.data.open_data(_number_path(folder), window=3, on_error="skip")


def scan_numbers(folder: Path) -> None:
    scan_data(_number_path(folder)).to_json()


def predict_numbers(folder: Path) -> None:
    read_inputs(_number_path(folder), NumberOptions())


# Pictures and their archives


def picture(format: str, mode: str = "L", **options: object) -> bytes:
    with io.BytesIO() as stream:
        Image.effect_noise((9, 7), 60).convert(mode).save(stream, format, **options)
        return stream.getvalue()


def pictures() -> list[Files]:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("note", "x" * 40, zip=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.arange(63, dtype=np.uint16).reshape(7, 9) * 1000)
    with io.BytesIO() as stream:
        deep.save(stream, "PNG")
        sixteen = stream.getvalue()
    return [
        {"p.png": picture("PNG")}, {"p.png": picture("PNG", "RGBA", pnginfo=notes)}, {"p.png": picture("PNG", "P")},
        {"p.png": sixteen},
        {"p.jpg": picture("JPEG", exif=exif)}, {"p.jpg": picture("JPEG", "RGB", progressive=True)},
        {"p.bmp": picture("BMP", "RGB")},
        {"p.gif": picture("GIF")}, {"p.tiff": picture("TIFF", "RGB", compression="tiff_lzw", exif=exif)},
        {"p.tiff": picture("TIFF", "I;16")},
        {"p.webp": picture("WEBP", "RGB")}, {"p.ppm": picture("PPM", "RGB")}, {"p.pgm": b"P2 3 2 255 1 2 3 4 5 6\n"},
    ]  # fmt: skip


def _only(folder: Path) -> Path:
    return next(folder.iterdir())


def read_picture_file(folder: Path) -> None:
    read_picture(_only(folder), 3, (8, 8))


def members() -> Files:
    """Return the files of a small data set of pictures."""
    names = [f"{'cat' if number % 2 else 'dog'}/{number}.png" for number in range(6)]
    return {**{name: picture("PNG") for name in names}, "labels.txt": b"no table\n"}


def tabled() -> Files:
    files = {f"{number}.png": picture("PNG", "I;16" if number == 1 else "L") for number in range(4)}
    return {**files, "labels.csv": b"file,label,split\n0.png,a,train\n1.png,b,train\n2,a,test\n3.png,b,test\n"}


def packed_zip(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    with io.BytesIO() as stream:
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, method)
        return stream.getvalue()


def packed_tar(files: Files, format: int = tarfile.GNU_FORMAT) -> bytes:
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return stream.getvalue()


def zips() -> list[Files]:
    return [{"d.zip": packed_zip(members())}, {"d.zip": packed_zip(tabled(), zipfile.ZIP_STORED)}]


def tars() -> list[Files]:
    plain = packed_tar(members())
    return [
        {"d.tar": plain}, {"d.tar": packed_tar({f"{'long' * 40}/{name}": data for name, data in members().items()})},
        {"d.tar": packed_tar({"é" * 80 + "/" + name: data for name, data in members().items()}, tarfile.PAX_FORMAT)},
        {"d.tar.gz": gzip.compress(plain)}, {"d.tar.bz2": bz2.compress(plain)}, {"d.tar.xz": lzma.compress(plain)},
    ]  # fmt: skip


def cifar() -> list[Files]:
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    with io.BytesIO() as stream:
        Image.new("RGB", (32, 32)).save(stream, "PNG")
        square = stream.getvalue()
    pictures = {f"cifar/{part}/{name}/1.png": square for part in ("train", "test") for name in names}
    record = bytes([3]) + bytes(3072)
    binary = {f"c/{name}": record * 2 for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin")}
    hundred = {
        "c/fine_label_names.txt": "\n".join(f"c{n}" for n in range(100)).encode(),
        "c/train.bin": bytes([1, 7]) + bytes(3072),
    }
    return [
        {"c.zip": packed_zip(pictures)}, {"c.tar.gz": gzip.compress(packed_tar(binary))},
        {"h.tar.gz": gzip.compress(packed_tar(hundred))},
    ]  # fmt: skip


def load_cifar(folder: Path) -> None:
    path = _only(folder)
    load_cifar100("train", path) if path.name.startswith("h") else load_cifar10("train", path)


def open_pictures(folder: Path) -> None:
    st.data.open_data(_only(folder), size=6, on_error="skip")


def open_pictures_as_they_are(folder: Path) -> None:
    st.data.open_data(_only(folder))


def scan_pictures(folder: Path) -> None:
    scan_data(_only(folder)).to_json()


def name_sources(folder: Path) -> None:
    with Sources([_only(folder)]) as sources:
        for one in sources.found:
            decoded(io.BytesIO(one.read()), one.name)


# IDX


def idx() -> list[Files]:
    def images(count: int) -> bytes:
        return struct.pack(">4B3I", 0, 0, 8, 3, count, 4, 5) + bytes(count * 20)

    def labels(count: int) -> bytes:
        return struct.pack(">4BI", 0, 0, 8, 1, count) + bytes(number % 2 for number in range(count))

    raw = {
        "train-images-idx3-ubyte": images(9), "train-labels-idx1-ubyte": labels(9),
        "t10k-images-idx3-ubyte": images(4), "t10k-labels-idx1-ubyte": labels(4),
    }  # fmt: skip
    return [raw, {f"{name}.gz": gzip.compress(content) for name, content in raw.items()}]


# Configurations, kernels


def configurations() -> list[Files]:
    text = 'data = "digits"\nmodel = "lenet5"\nepochs = 2\nlr = 0.05\nlabel-column = ["a", "b"]\nsize = [8, 8]\n'
    return [
        {"c.toml": text.encode()},
        {"c.toml": b'data = """\nx"""\n[a.b]\nc = { d = 1979-05-27T07:32:00Z, e = [1, [2, 3.5]] }\n'},
    ]


def read_toml(folder: Path) -> None:
    read_configuration(folder / "c.toml", options_of(train))


ENTRY = "0" * 64


def kernels() -> list[Files]:
    with tempfile.TemporaryDirectory() as folder:
        Cache(Path(folder)).put(ENTRY, b"\x7fELF" + bytes(range(256)) * 4)
        return [{path.name: path.read_bytes() for path in Path(folder).iterdir()}]


def read_kernel(folder: Path) -> None:
    found = Cache(folder).get(ENTRY)
    assert found in (None, b"\x7fELF" + bytes(range(256)) * 4), "a damaged entry was accepted"


_OF_MEMBERS = (m.in_png, *m.ANY)
_NUMBERS = (open_numbers, open_numbers, open_windows, scan_numbers, predict_numbers)
_PICTURES = (open_pictures, open_pictures_as_they_are, scan_pictures, name_sources)
KINDS: dict[str, Kind] = {
    "models": Kind(models, (load_model,), {".safetensors": (m.in_header,)}),
    "checkpoints": Kind(
        checkpoints, (newest, newest, lambda folder: read_checkpoint(folder / "last.safetensors")),
        {".safetensors": (m.in_checkpoint, m.in_checkpoint, m.in_header)},
    ),
    "onnx": Kind(onnx, (load_onnx,), {".onnx": (m.in_protobuf,)}),
    "torch": Kind(torch, (load_torch,), {".pth": (m.in_zip(m.ANY, (0,)),), ".safetensors": (m.in_header,)}),
    "published": Kind(
        published, (lambda folder: repr(st.load(folder)),), {".json": (m.in_json, m.in_json, *m.TEXT),
        ".safetensors": (m.in_header,)}
    ),
    "runs": Kind(
        runs,
        (
            read_everything, follow, follow, command("runs", "@"), command("runs", "@", "--json"),
            command("compare", "@/run", "@/run", "--all"), command("compare", "@/run", "@/run", "--json"),
            command("evaluate", "@/run"), command("predict", "@/run", "@/run/run.json"), command("doctor", "@/run"),
            command("train", "--resume", "@/run"), command("export", "@/run", "-o", "@/out.onnx"),
        ),
        {
            "run.json": (m.in_json, m.in_json, *m.TEXT), ".jsonl": (m.in_json_lines, m.in_json_lines, *m.TEXT),
            ".toml": m.TEXT,
            "last.safetensors": (m.in_checkpoint,), "model.safetensors": (m.in_header,),
        },
        room=64 * MB,
    ),
    "idx": Kind(idx, (lambda folder: st.data.open_data(folder),), {".gz": (m.in_gzip(m.ANY),)}, room=16 * MB),
    "pictures": Kind(
        pictures,
        (
            read_picture_file, lambda folder: open_picture(_only(folder)),
            lambda folder: paths_or_picture(_only(folder).read_bytes()),
        ),
        {".png": (m.in_png,), ".pgm": m.TEXT},
        room=1024 * MB,
    ),
    "zips": Kind(zips, _PICTURES, {".zip": (m.in_zip(_OF_MEMBERS, (0, 8, 12, 14)),)}, room=512 * MB),
    "tars": Kind(
        tars, _PICTURES,
        {".tar": (m.in_tar(_OF_MEMBERS),), ".gz": (m.in_gzip((m.in_tar(_OF_MEMBERS),)),),
         ".bz2": (m.in_gzip((m.in_tar(_OF_MEMBERS),)),), ".xz": (m.in_gzip((m.in_tar(_OF_MEMBERS),)),)},
        room=512 * MB,
    ),
    "folders": Kind(
        lambda: [{f"d/{name}": data for name, data in files.items()} for files in (members(), tabled())], _PICTURES,
        {".png": (m.in_png,), ".csv": m.TEXT}, room=512 * MB,
    ),
    "cifar": Kind(cifar, (load_cifar,), {".zip": (m.in_zip(_OF_MEMBERS),), ".gz": (m.in_gzip((m.in_tar(m.ANY),)),)},
    room=64 * MB),
    "tables": Kind(tables, _NUMBERS, {".csv": m.TEXT}, room=64 * MB),
    "series": Kind(series, _NUMBERS, {".ts": m.TEXT}, room=64 * MB),
    "arrays": Kind(arrays, _NUMBERS, {".npy": (m.in_npy,)}, room=16 * MB),
    "archives of arrays": Kind(archives_of_arrays, _NUMBERS, {".npz": (m.in_zip((m.in_npy, *m.ANY)),)}, room=64 * MB),
    "configurations": Kind(configurations, (read_toml, command("train", "@/c.toml", "--epochs", "0")),
    {".toml": m.TEXT}),
    "kernels": Kind(kernels, (read_kernel,)),
}  # fmt: skip
