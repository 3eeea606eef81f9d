"""Well-known data sets of pictures by name, and the addresses at which their files are published.

    STRIATE_DATA/mnist/           MNIST: four IDX files
    STRIATE_DATA/fashion_mnist/   Fashion-MNIST: four IDX files of the same names
    STRIATE_DATA/cifar10/         cifar-10-binary.tar.gz; or cifar10.zip and folders of pictures, see ``cifar``
    STRIATE_DATA/cifar100/        cifar-100-binary.tar.gz

Nothing is downloaded unless ``download`` is called.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from striate import settings
from striate.arguments import explained
from striate.errors import DataError, OptionError
from striate.options import choice
from striate.persistence.lock import FolderLock

Progress = Callable[[str, int, int], None]
Transfer = Callable[[str, str, Path, Callable[[int, int], None]], None]
_WAIT = 0.2  # seconds between two attempts to take the lock


@dataclass(frozen=True)
class Published:
    """The address at which a data set is published, ending with "/", and the SHA-256 of each file by its name."""

    source: str
    files: dict[str, str]


PUBLISHED = {
    "mnist": Published(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "fashion_mnist": Published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
    "cifar10": Published(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    ),
    "cifar100": Published(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-100-binary.tar.gz": "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"},
    ),
}


@explained
def download(
    name: str, source: str | None = None, progress: Progress = lambda file, done, total: None, wait: float = 3600.0
) -> Path:
    """Download the missing files of a well-known data set into ``STRIATE_DATA``, and return their folder.

        st.data.download("fashion_mnist")

    name      mnist, fashion_mnist, cifar10 or cifar100
    source    the address of another server with the same files; None: where they are published
    progress  called with (file, bytes done, bytes in all)
    wait      seconds to wait while another process downloads the same set

    The SHA-256 of every file is checked, and an interrupted download is continued. Raises ``OptionError`` for other
    names, and ``DataError`` if STRIATE_DATA is not set, if STRIATE_OFFLINE is set, or if a file cannot be downloaded.
    """
    published = PUBLISHED[choice("data set to download", name, PUBLISHED)]
    current = settings.current()
    if current.data is None:
        raise DataError(f"{name}: no folder for data sets\n  help: set STRIATE_DATA to the folder that is to hold them")
    folder = current.data / name
    missing = [file for file in published.files if not (folder / file).is_file()]
    if not missing:
        return folder
    if current.offline:
        raise DataError(
            f"{name}: {', '.join(missing)} not in {folder}, and STRIATE_OFFLINE=1 forbids downloads\n"
            "  help: copy the files there, or unset STRIATE_OFFLINE"
        )
    transfer = cast("Transfer", import_module("striate.data.transfer").transfer)
    address = (source or published.source).rstrip("/") + "/"
    if not address.startswith(("http://", "https://")):
        raise OptionError(f"source={source!r}; expected an address that starts with https:// or http://")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be created: {error.strerror or error}") from error
    lock, until = FolderLock(folder), time.monotonic() + wait
    while not lock.try_take():
        if time.monotonic() > until:
            raise DataError(f"{folder}: another process has been downloading for {wait:g} s\n  help: end it, or wait")
        time.sleep(_WAIT)
    try:
        for file in missing:
            if not (folder / file).is_file():  # the other process may have finished it
                transfer(
                    address + file, published.files[file], folder / file,
                    lambda done, total, file=file: progress(file, done, total),
                )  # fmt: skip
    finally:
        lock.release()
    return folder
