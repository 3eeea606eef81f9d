"""Folders, tables and archives of pictures: which are recognized, which are refused, and with what message."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from striate.data import open_data, open_dataset
from striate.data.decoding import headers
from striate.data.picture_entry import Picture
from striate.data.picture_options import PictureOptions
from striate.data.pictures import read_pictures
from striate.data.reading import Reading, Resize
from striate.data.sources import Sources
from striate.data.splitting import stratified_split
from striate.data.tree import natural, open_tree
from striate.errors import DataError, OptionError

CLASSES = ("2", "12", "b")


def write(path: Path, seed: int, size: tuple[int, int] = (6, 8), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = () if mode == "L" else (3,)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three classes with ten 6×8 pictures each, and the hidden files that operating systems leave."""
    root = tmp_path / "pictures"
    for number, name in enumerate(CLASSES):
        for index in range(10):
            write(root / name / f"{index}.png", 100 * number + index)
    for left in (".ipynb_checkpoints/x.png", "__MACOSX/2/._0.png", "2/Thumbs.db", "12/.hidden.png"):
        (root / left).parent.mkdir(parents=True, exist_ok=True)
        (root / left).write_bytes(b"left by the system")
    return root


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_folders_are_classes_in_natural_order(folder: Path) -> None:
    found = open_data(folder)
    assert found.train.classes == CLASSES
    assert (len(found.train), len(found.held_out)) == (24, 6)
    assert np.bincount(found.held_out.labels).tolist() == [2, 2, 2]
    assert found.train.images.shape[1:] == (3, 6, 8)
    assert found.notes == ()
    assert found.train.files == found.train_files
    assert found.train.subset([2, 0]).files == (found.train_files[2], found.train_files[0])
    whole, _ = read_pictures(folder, PictureOptions(), CLASSES)
    assert set(whole.files) == {*found.train_files, *found.held_out_files}
    for file, image in zip(found.train_files, found.train.images):
        np.testing.assert_array_equal(image.transpose(1, 2, 0), np.asarray(Image.open(folder / file)))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_an_archive_gives_the_same(folder: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"pictures.{kind}"
    if kind == "zip":
        zipped(folder, path)
    else:
        with tarfile.open(path, f"w:{kind[4:]}") as archive:
            archive.add(folder, "top")
    expected, found = open_data(folder), open_data(path)
    np.testing.assert_array_equal(found.train.images, expected.train.images)
    np.testing.assert_array_equal(found.held_out.labels, expected.held_out.labels)
    assert found.train.classes == CLASSES


def test_a_tar_archive_is_read_where_the_system_has_no_pread(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "pictures.tar", "w") as archive:
        archive.add(folder, "top")
    monkeypatch.setattr("striate.data.tree.sys", SimpleNamespace(platform="win32"))
    np.testing.assert_array_equal(open_data(tmp_path / "pictures.tar").train.images, open_data(folder).train.images)


def test_what_was_found_out_opens_the_same_again(folder: Path) -> None:
    found = open_data(folder, {"seed": 3, "held_out": 0.4})
    assert found.options is not None
    again = open_dataset(folder, "test", found.options.to_json())
    np.testing.assert_array_equal(again.images, found.held_out.images)
    assert len(again) == 12
    assert not np.array_equal(open_dataset(folder, "test", {"seed": 4, "held_out": 0.4}).images, again.images)


def test_given_parts_are_kept_with_one_numbering(tmp_path: Path) -> None:
    for index, (part, name) in enumerate(
        (("train", "a"), ("train", "b"), ("train", "c"), ("test", "b"), ("test", "c"))
    ):
        write(tmp_path / "set" / part / name / "0.png", index)
    found = open_data(tmp_path / "set")
    assert found.train.labels.tolist() == [0, 1, 2]
    assert found.held_out.labels.tolist() == [1, 2]
    assert found.held_out.classes == ("a", "b", "c")
    assert found.notes == ("no picture of a is held out",)


def test_all_pictures_are_evaluated_where_only_a_training_part_is_given(tmp_path: Path) -> None:
    for index in range(20):
        write(tmp_path / "set" / "train" / "ab"[index % 2] / f"{index}.png", index)
    found = open_data(tmp_path / "set")
    assert not found.given_parts
    assert (len(found.train), len(found.held_out)) == (16, 4)
    assert len(read_pictures(tmp_path / "set", PictureOptions(), "ab")[0]) == 20
    (tmp_path / "set" / "train").rename(tmp_path / "set" / "test")
    with pytest.raises(DataError, match="no pictures to learn from"):
        open_data(tmp_path / "set")


def test_pictures_of_one_class_can_be_evaluated_but_not_learned_from(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (folder / "12").rename(tmp_path / "one" / "12")
    with pytest.raises(DataError, match="one class, '12'; a classifier needs two or more"):
        open_data(tmp_path / "one")
    one, notes = read_pictures(tmp_path / "one", PictureOptions(), CLASSES)
    assert (one.with_classes(CLASSES).labels.tolist(), notes) == ([1] * 10, ())
    named, notes = read_pictures(tmp_path / "one" / "12", PictureOptions(), CLASSES)
    assert named.with_classes(CLASSES).labels.tolist() == [1] * 10
    assert "are taken as '12', since the folder is called so" in notes[0]
    (tmp_path / "one" / "12").rename(tmp_path / "new")
    with pytest.raises(
        DataError, match=r"new: 10 pictures without labels(.|\n)*a folder for each class, such as 2/"
    ) as of:
        read_pictures(tmp_path / "new", PictureOptions(), CLASSES)
    assert f"striate predict RUN {tmp_path / 'new'} predicts them" in str(of.value)


@pytest.mark.parametrize("name", ["a.rar", "b.7z", "c.csv.gz", "d.tar.zst"])
def test_archives_that_are_not_read_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=f"archives of the kind {Path(name).suffix} are not read\n  help: unpack it"):
        open_data(tmp_path / name)
    with Sources([tmp_path / name]) as sources:
        assert "are not read" in sources.problems[0]


def test_a_known_set_wins_over_a_folder_of_its_name_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert open_data("digits").notes == ()
    folder.rename(folder.parent / "digits")
    assert "./digits means the one in this folder" in open_data("digits").notes[0]
    assert open_data("./digits").train.classes == CLASSES


def test_with_val_and_test_the_test_is_left_alone(tmp_path: Path) -> None:
    for index, part in enumerate(("train", "val", "test")):
        for name in "ab":
            write(tmp_path / part / name / "0.png", 2 * index + (name == "b"))
    found = open_data(tmp_path)
    assert [Path(file).parts[0] for file in found.held_out_files] == ["val", "val"]
    assert "test is left for the last look" in found.notes[0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_files_and_labels(tmp_path: Path, delimiter: str) -> None:
    lines = ["filename,label,patient"]
    for index in range(12):
        write(tmp_path / "images" / f"{index}.png", index)
        lines.append(f"{index}.png,{'yes' if index % 2 else 'no'},p{index // 4}")
    (tmp_path / "labels.csv").write_text("\n".join(lines).replace(",", delimiter), encoding="utf-8-sig")
    found = open_data(tmp_path)
    assert found.train.classes == ("no", "yes")
    groups = [{int(Path(file).stem) // 4 for file in files} for files in (found.train_files, found.held_out_files)]
    assert not groups[0] & groups[1]
    assert all(groups)


def test_deep_grey_keeps_its_levels(tmp_path: Path) -> None:
    """256 levels in 16 bits remain 256 levels, and 12-bit pictures of a camera do not become nearly black."""
    for index, name in enumerate("ab"):
        for place in range(2):
            levels = np.linspace(0, 4095, 256).round().astype(np.uint16)[np.newaxis].repeat(4 + index + place, 0)[:4]
            levels[0, 0] = 2 * index + place
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(levels).save(tmp_path / name / f"{place}.png")
    found = open_data(tmp_path)
    assert found.train.images.shape == (2, 1, 4, 256)
    assert len(np.unique(found.train.images[0])) == 256
    assert found.train.images.max() == 255
    assert found.options is not None
    assert found.options.most == 4095
    assert "use 12 bits" in found.notes[0]


def test_colour_and_grey_by_need_and_by_wish(tmp_path: Path) -> None:
    for index, mode in enumerate(("L", "L", "RGB", "RGB")):
        write(tmp_path / "ab"[index % 2] / f"{index}.png", index, mode=mode)
    assert open_data(tmp_path).train.images.shape[1] == 3
    assert open_data(tmp_path, PictureOptions(channels=1)).train.images.shape[1] == 1


def test_a_hidden_colour_never_shows(tmp_path: Path) -> None:
    hidden = np.zeros((4, 4, 4), np.uint8)
    hidden[..., 0] = 200  # red, with alpha 0
    content = io.BytesIO()
    Image.fromarray(hidden).save(content, "PNG")
    assert (Reading(3, (4, 4)).read(content.getvalue(), "hidden.png") == 255).all()


@pytest.mark.parametrize(("resize", "white"), [(Resize.stretch, 0), (Resize.crop, 0), (Resize.pad, 8 * 8 // 2)])
def test_other_proportions(resize: Resize, white: int) -> None:
    content = io.BytesIO()
    Image.new("L", (16, 8), 100).save(content, "PNG")
    assert int((Reading(1, (8, 8), resize).read(content.getvalue(), "wide.png") == 255).sum()) == white


def _replaced(folder: Path, name: str, content: bytes) -> Path:
    (folder / "b" / name).write_bytes(content)
    return folder


def _cut(folder: Path) -> Path:
    write(folder / "b" / "cut.jpg", 5, (64, 64))
    (folder / "b" / "cut.jpg").write_bytes((folder / "b" / "cut.jpg").read_bytes()[:600])
    return folder


BAD: dict[str, Any] = {
    "text called .jpg": (lambda folder: _replaced(folder, "note.jpg", b"a note"), r"b/note\.jpg: not a picture"),
    "a page called .png": (lambda folder: _replaced(folder, "a.png", b"<html></html>"), r"b/a\.png: not a picture"),
    "0 bytes": (lambda folder: _replaced(folder, "none.png", b""), r"b/none\.png: is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named_or_skipped(folder: Path, case: str) -> None:
    spoil, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        open_data(spoil(folder))
    assert "1 file of 31 cannot be read" in str(caught.value)
    assert 'help: mend or remove them, or give on_error="skip"' in str(caught.value)
    found = open_data(folder, {"on_error": "skip"})
    assert len(found.train) + len(found.held_out) == 30
    assert "1 of 31 files" in found.notes[0]


def test_a_truncated_picture_is_named_when_it_is_decoded(folder: Path) -> None:
    _cut(folder)
    with pytest.raises(DataError, match=r"b/cut\.jpg"):
        open_data(folder, PictureOptions(size=(6, 8)))
    found = open_data(folder, {"on_error": "skip", "size": [6, 8]})
    assert len(found.train) + len(found.held_out) == 30


@pytest.mark.parametrize("size", [7, (7, 7), [7, 7], "7", "7x7", np.int64(7)])
def test_a_size_is_given_as_people_give_it(folder: Path, size: Any) -> None:
    assert open_data(folder, size=size).train.images.shape[2:] == (7, 7)
    assert PictureOptions(size=size) == PictureOptions(size=(7, 7))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (7, 7, 3)}, r"size=\(7, 7, 3\); expected pixels"),
        ({"size": 0}, "size=0; expected pixels"),
        ({"size": "wide"}, "size='wide'; expected pixels"),
        ({"size": "64x100000"}, "size='64x100000': sides are from 1 to 16,384 pixels, not 100,000"),
        ({"size": 10**20}, "sides are from 1 to 16,384 pixels"),
        ({"resize": "padd"}, "did you mean 'pad'"),
        ({"on_error": "ignore"}, "known: raise, skip"),
        ({"most": 0}, "most=0"),
        ({"sise": 7}, "did you mean 'size'"),
    ],
)
def test_options_are_refused_in_the_words_of_python(folder: Path, options: dict[str, Any], message: str) -> None:
    for call in (lambda: open_data(folder, options), lambda: open_data(folder, **options)):
        with pytest.raises(OptionError, match=message):
            call()
    with pytest.raises(OptionError, match="digits: its pictures and parts are given\n  help: leave out size=7x7"):
        open_data("digits", size=7)


REFUSED: dict[str, tuple[Any, str]] = {
    "no such path": (lambda folder: folder / "nosuch", "no such file or folder"),
    "no pictures": (lambda folder: folder.parent / "empty", r"no folders of classes[\s\S]*expected: cat/1.png"),
    "one class": (lambda folder: folder.parent / "one", "one class, 'cat'"),
    "cases": (lambda folder: folder.parent / "cases", "'Cat' and 'cat' differ in case only"),
    "sizes": (lambda folder: folder.parent / "sizes", r"2 different sizes[\s\S]*help: give size=8"),
    "no archive": (lambda folder: folder.parent / "notes.txt", "not a data set"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_set_of_pictures(folder: Path, case: str) -> None:
    parent = folder.parent
    (parent / "empty").mkdir()
    write(parent / "one" / "cat" / "0.png", 0)
    for index, name in enumerate(("Cat", "cat")):
        write(parent / "cases" / name / "0.png", index)
        write(parent / "sizes" / f"{index}" / "0.png", index, (6, 8 + index))
    (parent / "notes.txt").write_text("no archive")
    path, message = REFUSED[case]
    with pytest.raises((DataError, OptionError), match=message):
        open_data(path(folder))


def test_equal_pictures_are_named_across_parts_and_classes(folder: Path) -> None:
    for index in range(10):
        (folder / "b" / f"copy{index}.png").write_bytes((folder / "2" / f"{index}.png").read_bytes())
    notes = open_data(folder).notes
    assert any("in both parts" in note for note in notes)
    assert any("10 pictures are under two labels" in note and "2/0.png = " in note for note in notes)


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "C:\\out.png"])
def test_an_archive_does_not_lead_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(DataError, match="leads out of the archive"):
        open_tree(path)


def test_links_and_bombs_in_archives_are_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("a/link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        archive.addfile(link)
    with pytest.raises(DataError, match="is a link or device"):
        open_tree(tmp_path / "link.tar")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", bytes(1 << 20))
    content = (tmp_path / "bomb.zip").read_bytes()
    (tmp_path / "bomb.zip").write_bytes(
        content.replace((1 << 20).to_bytes(4, "little"), (1 << 29).to_bytes(4, "little"))
    )
    with pytest.raises(DataError, match="claims 536,870,912 bytes"):
        open_tree(tmp_path / "bomb.zip")


def test_a_loop_of_links_ends(folder: Path) -> None:
    (folder / "b" / "again").symlink_to(folder)
    assert len(open_tree(folder).entries) == 30


def test_tables_name_the_line(tmp_path: Path) -> None:
    write(tmp_path / "0.png", 0)
    for text, message in (
        ("file,label\n0.png,a\nnone.png,b\n", r"labels\.csv, line 3: no picture 'none\.png'"),
        ("file,label\n0.png\n", r"line 2: 1 column, not 2"),
        ("foto,what\n1.png,a\n", "no column file and no column label"),
        ("file,what,more\n0.png,a,b\n", 'no column label in line 1, .*\n.*label_column="more"'),
        ("0.png,a\n0.png,b\n", "no names of columns in line 1, '0.png, a'"),
        ("file,label\n0.png,\n", "line 2: the label is missing; so it is with all"),
        ("file,label,split\n0.png,a,tset\n", "line 2: split 'tset'"),
    ):
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            open_data(tmp_path)


def test_a_table_as_contests_have_it(tmp_path: Path) -> None:
    """Names without suffix, another word for the label, lines without pictures, and forms for answers."""
    for folder in "ab":
        for index in range(8):
            write(tmp_path / "pictures" / folder / f"{index}.png", 10 * index + ord(folder))
    rows = [f"{folder}/{index},{folder}" for folder in "ab" for index in range(8)]
    table = tmp_path / "train.csv"
    table.write_text("\n".join(["image_id,breed", *rows, "gone,a", "b/0,"]))
    (tmp_path / "test.csv").write_text("image_id,width\na/0,24\n")
    (tmp_path / "sample_submission.csv").write_text("id,label\na/0,b\n")
    with pytest.raises(DataError, match=r"2 of 18 lines cannot be used\n.*line 18: no picture 'gone'.*\n.*line 19"):
        open_data(tmp_path)
    found = open_data(tmp_path, on_error="skip")
    assert found.train.classes == ("a", "b")
    assert len(found.train) + len(found.held_out) == 16
    assert any("test.csv: no column label" in note for note in found.notes)
    table.write_text("\n".join(["image_id,breed,age", *(f"{row},{place}" for place, row in enumerate(rows))]))
    assert open_data(tmp_path, label_column="breed").train.classes == ("a", "b")
    with pytest.raises(DataError, match="no column 'bred'; did you mean 'breed'"):
        open_data(tmp_path, label_column="bred")
    table.write_text("image,label\n0.png,a\n1.png,b\n")
    with pytest.raises(DataError, match=r"'0.png' may be pictures/a/0.png or pictures/b/0.png"):
        open_data(tmp_path)
    table.write_text("\n".join(["image_id,age", *(f"{row[:3]},{place + 0.5}" for place, row in enumerate(rows))]))
    with pytest.raises(DataError, match="the labels are 16 different numbers"):
        open_data(tmp_path)


def test_names_of_parts_beside_other_words(tmp_path: Path) -> None:
    for part, count in (("train_images", 6), ("Test-images", 3)):
        for index in range(count):
            for label in ("cat", "dog"):
                write(tmp_path / part / label / f"{index}.png", 20 * index + count + len(label) * ord(label[0]))
    found = open_data(tmp_path)
    assert found.train.classes == ("cat", "dog")
    assert (len(found.train), len(found.held_out), found.given_parts) == (12, 6, True)


@pytest.mark.parametrize(("name", "message"), [("a.svg", "save them as PNG or JPEG"), ("a.npz", "np.savez")])
def test_folders_of_other_files_are_named(tmp_path: Path, name: str, message: str) -> None:
    for label in "ab":
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / name).write_text("<svg/>")
    with pytest.raises(DataError, match=rf"found: a, b \(2 \{name[1:]} files\)(.|\n)*help: .*{message}"):
        open_data(tmp_path / "set")


def test_a_header_is_read_from_the_start_of_a_file(tmp_path: Path) -> None:
    """A header that is longer than the start, and one at the end, are read as well as others."""
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    exif[0x010E] = "x" * 60_000
    Image.fromarray(noise).save(folder / "turned.jpg", exif=exif, icc_profile=b"p" * 60_000)
    Image.fromarray(noise).save(folder / "large.png")
    Image.fromarray(noise).save(folder / "large.tiff")
    assert all(file.stat().st_size > 1 << 16 for file in folder.iterdir())
    tree = open_tree(tmp_path / "set")
    pictures = [Picture(entry, "a") for entry in tree.entries]
    found = headers(tree, pictures)
    assert (found.bad, found.sizes) == ({}, {(200, 300): 2, (300, 200): 1})


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_archives_of_every_method_are_read_and_checked(tmp_path: Path, method: int) -> None:
    path, content = tmp_path / "a.zip", bytes(range(256)) * 400
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a/0.png", content)
        archive.writestr("a/empty.png", b"")
    tree = open_tree(path)
    assert [tree.read(entry) for entry in tree.entries] == [content, b""]
    assert tree.start(tree.entries[0], 1000) == content[:1000]
    tree.close()
    damaged = bytearray(path.read_bytes())
    damaged[len("a/0.png") + 30 + 20] ^= 0xFF
    path.write_bytes(damaged)
    tree = open_tree(path)
    with pytest.raises(DataError, match=r"a.zip/a/0.png: cannot be read: "):
        tree.read(tree.entries[0])
    tree.close()


def test_a_split_is_stratified_seeded_and_by_group() -> None:
    labels = np.repeat([0, 1, 2], [50, 10, 1])
    train, held_out = stratified_split(labels, 0.2, seed=1)
    assert np.bincount(labels[held_out], minlength=3).tolist() == [10, 2, 0]
    assert sorted([*train, *held_out]) == list(range(61))
    assert held_out.tolist() == stratified_split(labels, 0.2, seed=1)[1].tolist()
    assert held_out.tolist() != stratified_split(labels, 0.2, seed=2)[1].tolist()
    groups = [f"g{index // 5}" for index in range(61)]
    train, held_out = stratified_split(labels, 0.2, seed=1, groups=groups)
    assert not {groups[i] for i in train} & {groups[i] for i in held_out}
    assert 6 <= len(held_out) <= 18


def test_names_sort_as_people_do() -> None:
    assert sorted(["b12", "b2", "12", "2", "a"], key=natural) == ["2", "12", "a", "b2", "b12"]


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match="leave out size="):
        open_data("digits", {"size": [8, 8]})
    with pytest.raises(OptionError, match="unknown option of pictures 'sise'"):
        open_data("digits", {"sise": 3})


def test_classes_are_matched_by_name(folder: Path) -> None:
    """A folder without the first class keeps the class numbers of the training data."""
    trained = open_data(folder).train.classes
    for path in (folder / "2").iterdir():
        path.unlink()
    found, _ = read_pictures(folder, PictureOptions(), trained)
    assert (len(found), found.classes) == (20, ("12", "b"))
    matched = found.with_classes(trained)
    assert matched.classes == trained
    assert sorted(set(matched.labels.tolist())) == [1, 2]
    np.testing.assert_array_equal(matched.images, found.images)
    (folder / "12").rename(folder / "new")
    with pytest.raises(DataError, match=r"does not know the class new\n  its classes are 2, 12, b"):
        open_data(folder).train.with_classes(trained)
