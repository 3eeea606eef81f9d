"""An opened data set, in a training part and a held-out part."""

from __future__ import annotations

from dataclasses import dataclass, field

from striate.data.dataset import Dataset
from striate.data.number_options import NumberOptions
from striate.data.picture_options import PictureOptions


@dataclass(frozen=True, eq=False)
class Opened:
    """A labelled data set in two parts, one for training and one held out.

    train, held_out              the two parts
    train_files, held_out_files  where each sample comes from, in the order of the samples: paths of picture files, or
                                 lines of tables; empty for data sets known by name
    options                      the options with which the data were read; values that the data determine replace None.
                                 For data sets known by name, this field is None
    notes                        messages for the user, such as files that were skipped
    file_size                    (height, width) of all picture files; None if they differ, and for other data
    given_parts                  whether the data come with a held-out part, rather than being split at random
    """

    train: Dataset
    held_out: Dataset
    train_files: tuple[str, ...] = field(repr=False)
    held_out_files: tuple[str, ...] = field(repr=False)
    options: PictureOptions | NumberOptions | None
    notes: tuple[str, ...]
    given_parts: bool = True
    file_size: tuple[int, int] | None = None
