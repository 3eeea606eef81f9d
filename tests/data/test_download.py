"""Downloads from a local server: complete, continued, checked, locked, and forbidden."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from striate import settings
from striate.data import download, load_cifar10, load_cifar100, usual
from striate.errors import DataError, OptionError
from striate.persistence.lock import FolderLock


def archive(kind: str) -> bytes:
    """A binary archive of CIFAR with two pictures a file, whose pixels are the label."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
        files = {name: [(1, 7), (2, 9)] for name in names} if kind == "cifar10" else {}
        content = {name: b"".join(bytes([fine]) * 3073 for _, fine in pairs) for name, pairs in files.items()}
        if kind == "cifar100":
            for name in ("train.bin", "test.bin"):
                content[name] = b"".join(bytes([1]) + bytes([fine]) * 3073 for fine in (7, 99))
            content["fine_label_names.txt"] = "\n".join(f"thing{number}" for number in range(100)).encode()
        for name, data in content.items():
            info = tarfile.TarInfo(f"folder/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


class Server(ThreadingHTTPServer):
    """Serves ``contents``, by Range if ``ranges``, and cuts the first ``cuts`` answers in the middle."""

    contents: dict[str, bytes]
    ranges = True
    cuts = 0
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        content, asked = self.server.contents.get(self.path), self.headers["Range"]
        self.server.asked.append(asked)
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        rest = content[start:]
        if self.server.cuts:
            self.server.cuts -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        running.contents = {f"/cifar-{kind[5:]}-binary.tar.gz": archive(kind) for kind in ("cifar10", "cifar100")}
        address = f"http://127.0.0.1:{running.server_port}/"
        for kind in ("cifar10", "cifar100"):
            name = f"cifar-{kind[5:]}-binary.tar.gz"
            digest = hashlib.sha256(running.contents["/" + name]).hexdigest()
            monkeypatch.setitem(usual.PUBLISHED, kind, usual.Published(address, {name: digest}))
        before = settings.override(data=tmp_path / "sets", offline=False)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()
        settings.restore(before)


def test_a_set_is_downloaded_once_and_read(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    folder = download("cifar100", progress=lambda file, done, total: seen.append((file, done, total)))
    assert folder == tmp_path / "sets" / "cifar100"
    assert seen[-1][1] == seen[-1][2] == (folder / "cifar-100-binary.tar.gz").stat().st_size
    assert [path.name for path in folder.iterdir()] == ["cifar-100-binary.tar.gz"]
    data = load_cifar100("test")
    assert (data.images[1] == 99).all()
    assert [data.classes[label] for label in data.labels] == ["thing7", "thing99"]
    download("cifar100")
    assert server.asked == [None]
    download("cifar10")
    ten = load_cifar10("train", most=3)
    assert ten.labels.tolist() == [7, 9] * 3
    assert np.array_equal(ten.images[:, 0, 0, 0], ten.labels)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_download_is_continued(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.cuts, server.ranges = 1, ranges
    folder = tmp_path / "sets" / "cifar100"
    with pytest.raises(DataError, match=r"bytes are kept\n  help: run it again, which continues"):
        download("cifar100")
    (partial,) = folder.iterdir()
    have = partial.stat().st_size
    assert partial.name == "cifar-100-binary.tar.gz.part"
    download("cifar100")
    assert server.asked == [None, f"bytes={have}-"]
    assert len(load_cifar100("train")) == 2
    (folder / "cifar-100-binary.tar.gz").rename(partial)  # all bytes were there, but not yet checked
    download("cifar100")
    assert len(list(folder.iterdir())) == 1


def test_another_content_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    server.contents["/cifar-100-binary.tar.gz"] = b"<html>log in here</html>"
    with pytest.raises(DataError, match="is not the file that was published: SHA-256"):
        download("cifar100")
    assert not list((tmp_path / "sets" / "cifar100").iterdir())
    del server.contents["/cifar-100-binary.tar.gz"]
    with pytest.raises(DataError, match="cannot be downloaded: Not Found"):
        download("cifar100")
    with pytest.raises(DataError, match="cannot be downloaded"):
        download("cifar100", source="http://127.0.0.1:9/")
    with pytest.raises(OptionError, match="starts with https://"):
        download("cifar100", source="file:///etc/")


def test_offline_locked_and_unknown(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="mnist, fashion_mnist, cifar10, cifar100"):
        download("imagenet")
    settings.override(offline=True)
    with pytest.raises(DataError, match="STRIATE_OFFLINE=1 forbids downloads"):
        download("cifar100")
    settings.override(offline=False)
    folder = tmp_path / "sets" / "cifar100"
    folder.mkdir(parents=True)
    with FolderLock(folder), pytest.raises(DataError, match="another process has been downloading"):
        download("cifar100", wait=0)
    assert server.asked == []
    settings.override(data=None)
    with pytest.raises(DataError, match="set STRIATE_DATA"):
        download("cifar100")


def test_what_is_no_archive_of_cifar_is_named(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "cifar-100-binary.tar.gz"
    path.write_bytes(server.contents["/cifar-10-binary.tar.gz"])
    with pytest.raises(DataError, match=r"no fine_label_names\.txt, train\.bin in it"):
        load_cifar100("train", path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a zip or tar archive that can be read"):
        load_cifar100("train", path)
