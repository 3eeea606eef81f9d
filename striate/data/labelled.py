"""Find the class and the part (train or test) of every picture, from folders or from a table.

cat/1.png  dog/2.png                  a folder per class; a random share is held out
train/cat/1.png  test/cat/2.png       parts: train, and test or val; with both val and test, val is held out
labels.csv with file,label            tables in the root; optional columns: split, group. A table called train.csv,
                                      test.csv or val.csv lists the files of that part

Names of parts may be in capitals, and may have other words beside them, as in ``train_images``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from striate.counting import counted
from striate.data.picture import SUFFIXES
from striate.data.picture_entry import PARTS, TESTING, VALIDATION, Labelled, Picture, part_word
from striate.data.picture_table import from_tables
from striate.data.tree import Entry, Tree, natural
from striate.errors import DataError

_TABLES = (".csv", ".tsv")
_NUMBERS = (".csv", ".tsv", ".npy", ".npz", ".ts", ".txt")
_FOREIGN = (".heic", ".heif", ".avif", ".svg", ".raw", ".dng", ".nef", ".cr2", ".psd", ".pdf")
_LISTED = 5


def is_picture(entry: Entry) -> bool:
    """Return whether a file has the suffix of a picture, such as .png or .jpg."""
    return entry.path.suffix.lower() in SUFFIXES


def labelled_pictures(tree: Tree, label_column: str | None = None, known: Sequence[str] = ()) -> Labelled:
    """Find all pictures and their labels: in a folder per class, in train and test folders, or in a CSV or TSV table.

    ``label_column`` is the name of the column of labels, for tables. ``known`` are the classes of a model that is
    evaluated: a folder of pictures without class folders is then accepted if its own name is one of them. Raises
    ``DataError``, which lists what was found, if the files have none of these forms.
    """
    depth = 2 if _has_one_folder(tree) else 1
    tables = [
        entry for entry in tree.entries if entry.path.suffix.lower() in _TABLES and len(entry.path.parts) == depth
    ]
    files = [entry for entry in tree.entries if is_picture(entry)]
    if tables and files:
        return from_tables(tree, tables, files, label_column)
    if files and known and _class_depth(files) is None:
        return _as_one_class(tree, files, known)
    return from_folders(tree, files)


def _as_one_class(tree: Tree, files: list[Entry], known: Sequence[str]) -> Labelled:
    """Take the name of the folder itself as the class of its pictures; raise ``DataError`` if it is not known."""
    name = tree.root.resolve().name
    if name not in known:
        first, *others = known
        raise DataError(
            f"{tree.root}: {counted(len(files), 'picture')} without labels, so predictions cannot be compared\n"
            f"  expected: a folder for each class, such as {first}/ and {others[0] if others else first}/, or a table "
            "labels.csv with file,label\n"
            f"  help: striate predict RUN {tree.root} predicts them without labels"
        )
    note = f"all pictures of {tree.root} are taken as {name!r}, since the folder is called so"
    return Labelled([Picture(entry, name, None) for entry in files], (name,), [], [note])


def _has_one_folder(tree: Tree) -> bool:
    """Return whether all files are in one folder at the root, as in many archives."""
    top = {one.path.parts[0] for one in tree.entries if len(one.path.parts) > 1}
    return len(top) == 1 and not any(len(one.path.parts) == 1 for one in tree.entries)


def from_folders(tree: Tree, files: list[Entry], unit: str = "picture") -> Labelled:
    """Take the labels of ``files`` from the names of folders; raise ``DataError`` if there are no such folders.

    ``tree`` is the folder or archive that contains the files. ``unit`` is the word for a file in notes.
    """
    others = [entry for entry in tree.entries if not is_picture(entry)]
    depth = _class_depth(files)
    if not files or depth is None:
        raise _no_classes(tree)
    loose = [entry for entry in files if len(entry.path.parts) - 1 < depth + 1]
    placed = [entry for entry in files if len(entry.path.parts) - 1 >= depth + 1]
    words = {entry.path.parts[depth - 1]: part_word(entry.path.parts[depth - 1]) for entry in placed} if depth else {}
    given = bool(words) and None not in words.values()
    notes: list[str] = []
    if loose:
        lie = (
            "lies beside the folders of classes and was"
            if len(loose) == 1
            else "lie beside the folders of classes and were"
        )
        notes.append(f"{counted(len(loose), unit)} {lie} passed over")
    if given and set(words.values()) & set(TESTING) and set(words.values()) & set(VALIDATION):
        notes.append("of val and test, val is held out during training; test is left for the last look")
        placed = [entry for entry in placed if words[entry.path.parts[depth - 1]] not in TESTING]
    pictures = [
        Picture(entry, entry.path.parts[depth], PARTS[words[entry.path.parts[depth - 1]] or ""] if given else None)
        for entry in placed
    ]
    names = tuple(sorted({picture.label for picture in pictures}, key=natural))
    empty = {path.name for path in tree.folders if len(path.parts) == depth + 1} - set(names)
    if empty:
        shown = ", ".join(sorted(empty, key=natural)[:_LISTED])
        what = (
            f"a folder without {unit}s is not a class"
            if len(empty) == 1
            else f"folders without {unit}s are not classes"
        )
        notes.append(f"{shown}: {what}")
    if same := _same_folders(placed, depth):
        notes.append(f"all classes have the folders {same}; if those are the classes, leave out the folders above them")
    return Labelled(pictures, names, [*others, *loose], notes)


def _class_depth(files: list[Entry]) -> int | None:
    """Return how many levels of folders lie above the class folders; None if there are none.

    Such levels are parts (train, test), and a single folder that holds everything.
    """
    depth = 0
    while True:
        folders = {entry.path.parts[depth] for entry in files if len(entry.path.parts) > depth + 1}
        if not folders:
            return None
        deeper = any(len(entry.path.parts) > depth + 2 for entry in files)
        parts = all(part_word(name) is not None for name in folders)
        if deeper and (parts or len(folders) == 1):
            depth += 1
            continue
        return depth


def _same_folders(placed: list[Entry], depth: int) -> str:
    """Return the folders that every class folder has, if these are two or more and hold all pictures; else ""."""
    inside: dict[str, set[str]] = {}
    for entry in placed:
        parts = entry.path.parts[depth:]
        inside.setdefault(parts[0], set()).add(parts[1] if len(parts) > 2 else "")
    first, *others = inside.values()
    same = bool(others) and len(first) > 1 and "" not in first and all(one == first for one in others)
    return ", ".join(sorted(first, key=natural)[:_LISTED]) if same else ""


def _no_classes(tree: Tree) -> DataError:
    """Return the error for files without folders of classes; it says what was found instead."""
    found = ", ".join(dict.fromkeys(str(entry.path.parts[0]) for entry in tree.entries[:50])) or "nothing"
    endings = Counter(entry.path.suffix.lower() for entry in tree.entries)
    ending, count = next(iter(endings.most_common(1)), ("", 0))
    if ending in _FOREIGN:
        cure = f"\n  help: {ending} files are not read; save them as PNG or JPEG"
    elif ending in _NUMBERS:
        cure = (
            f"\n  help: {ending} files hold numbers, which are read from one file, such as a CSV with the columns id, "
            "time and label, or np.savez(path, x=inputs, y=labels); or from a folder of .npy or .csv files for each "
            "class"
        )
    else:
        cure = ""
    kinds = f" ({count:,} {ending} files)" if ending and ending not in SUFFIXES else ""
    return DataError(
        f"{tree.root}: no folders of classes with pictures in them\n"
        f"  found: {found[:200]}{kinds}\n"
        f"  expected: cat/1.png, dog/2.png; or train/cat/1.png, test/cat/2.png; or labels.csv with file,label{cure}"
    )
