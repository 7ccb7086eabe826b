"""Folders of images: one for each class of a probe, or two whose images are compared. Imports no torch."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from percept_cli.core.files.inputs import find_images
from percept_cli.errors import UsageError

USUAL_FOLDS = 5


@dataclass(frozen=True)
class LabeledFiles:
    """Image files, the class of each, and the files that lie in no folder of a class.

    unreadable: the folders of classes that cannot be read, and why.
    """

    files: tuple[Path, ...]
    classes: tuple[str, ...]
    unlabeled: tuple[Path, ...] = ()
    unreadable: dict[Path, str] = field(default_factory=dict)


def find_labeled(folder: Path) -> LabeledFiles:
    """The images below FOLDER/CLASS/, sorted by class and name.

    Raises UsageError where FOLDER is no folder, for fewer than two classes and for a class without an image.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"--probe {folder}: there is no such folder.")
    if reason := why_unreadable(folder):
        raise UsageError(f"--probe {folder}: {reason}")
    labeled: list[tuple[Path, str]] = []
    unreadable: dict[Path, str] = {}
    places = [place for place in sorted(folder.iterdir()) if not place.name.startswith(".")]
    for place in filter(os.path.isdir, places):
        if reason := why_unreadable(place):
            unreadable[place] = reason
        else:
            labeled += [(file, place.name) for file in find_images(place, recursive=True)]
    classes = sorted({name for _, name in labeled})
    if len(classes) < 2:
        found = f"one class, '{classes[0]}'" if classes else "no folders"
        closed = f" that can be read ({'; '.join(unreadable.values())})" if unreadable else ""
        raise UsageError(
            f"--probe {folder} holds {found}{closed}: give a folder with a folder of images for each of two or more "
            "classes."
        )
    files, names = zip(*labeled, strict=True)
    return LabeledFiles(files, names, tuple(filter(os.path.isfile, places)), unreadable)


def why_unreadable(folder: Path) -> str:
    """A sentence that says why a folder cannot be listed; empty where it can."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        return f"The folder '{folder}' cannot be read: {error.strerror or error}."
    return ""


def check_folds(classes: Sequence[str], folds: int) -> None:
    """Raises UsageError for fewer than two classes, and for a class of fewer pictures than folds."""
    counts = Counter(classes)
    if len(counts) < 2:
        raise UsageError("Only one class has pictures that can be read: a probe needs two.")
    name, fewest = min(counts.items(), key=lambda entry: entry[1])
    if fewest < folds:
        less = f", or --folds {fewest}" if fewest > 1 else ""
        raise UsageError(
            f"Class '{name}' has {fewest} of the {folds} pictures that {folds} folds need: add some{less}."
        )


@dataclass(frozen=True)
class Pair:
    """Two image files to be compared."""

    first: Path
    second: Path


def find_pairs(first: Path, second: Path) -> tuple[list[Pair], dict[Path, str]]:
    """The pairs of two files or of two folders, and for each file without a partner a sentence that says why.

    Raises UsageError for a file beside a folder and for a folder without images.
    """
    of_folders = os.path.isdir(first)
    if of_folders != os.path.isdir(second):
        folder, file = (first, second) if of_folders else (second, first)
        raise UsageError(f"'{folder}' is a folder and '{file}' is not: give two files or two folders.")
    if not of_folders:
        return [Pair(first, second)], {}
    for folder in (first, second):
        if reason := why_unreadable(folder):
            raise UsageError(reason)
    return match_by_name(find_images(first, recursive=False), find_images(second, recursive=False))


def match_by_name(firsts: Sequence[Path], seconds: Sequence[Path]) -> tuple[list[Pair], dict[Path, str]]:
    """The pairs of files of equal stems, else of those where the second stem begins with the first: `cat`, `cat_x4`.

    A second file belongs to the longest first stem that begins its own stem: `a10_x4` to `a10` and not to `a1`.
    A file with no partner or with several is left out, with a sentence that says why.
    """
    sharing = Counter(path.stem for path in firsts)
    belonging: dict[str, list[Path]] = {stem: [] for stem in sharing}
    unmatched: dict[Path, str] = {}
    for path in seconds:
        beginnings = (path.stem[:length] for length in range(len(path.stem), 0, -1))
        owner = next((beginning for beginning in beginnings if beginning in belonging), None)
        if owner is None:
            unmatched[path] = "no name in the first folder is the beginning of its own"
        else:
            belonging[owner].append(path)
    pairs = []
    for path in firsts:
        partners = belonging[path.stem]
        if exact := [partner for partner in partners if partner.stem == path.stem]:
            reason = f"'{path.name}' of the first folder has a partner of its very name"
            unmatched.update({partner: reason for partner in partners if partner not in exact})
            partners = exact
        if not partners:
            unmatched[path] = f"no name in the second folder begins with '{path.stem}'"
        elif sharing[path.stem] > 1:
            unmatched[path] = f"{sharing[path.stem]} files of the first folder are called '{path.stem}'"
        elif len(partners) > 1:
            names = ", ".join(f"'{partner.name}'" for partner in partners)
            unmatched[path] = f"{names} of the second folder could all be its partner"
        else:
            pairs.append(Pair(path, partners[0]))
    return pairs, unmatched
