"""Folders of images: one for each class of a probe, or two whose images are compared. Imports no torch."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from percept_cli.core.files.inputs import find_images
from percept_cli.errors import UsageError

USUAL_FOLDS = 5


@dataclass(frozen=True)
class LabeledFiles:
    """Image files, the class of each, and the files that lie in no folder of a class."""

    files: tuple[Path, ...]
    classes: tuple[str, ...]
    unlabeled: tuple[Path, ...] = ()


def find_labeled(folder: Path) -> LabeledFiles:
    """The images below FOLDER/CLASS/, sorted by class and name.

    Raises UsageError where FOLDER is no folder, for fewer than two classes and for a class without an image.
    """
    if not folder.is_dir():
        raise UsageError(f"--probe {folder}: there is no such folder.")
    labeled: list[tuple[Path, str]] = []
    for place in sorted(folder.iterdir()):
        if place.is_dir() and not place.name.startswith("."):
            labeled += [(file, place.name) for file in find_images(place, recursive=True)]
    classes = sorted({name for _, name in labeled})
    if len(classes) < 2:
        found = f"one class, '{classes[0]}'" if classes else "no folders"
        raise UsageError(
            f"--probe {folder} holds {found}: give a folder with a folder of images for each of two or more classes."
        )
    beside = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    files, names = zip(*labeled, strict=True)
    return LabeledFiles(files, names, tuple(beside))


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
    if first.is_dir() != second.is_dir():
        folder, file = (first, second) if first.is_dir() else (second, first)
        raise UsageError(f"'{folder}' is a folder and '{file}' is not: give two files or two folders.")
    if not first.is_dir():
        return [Pair(first, second)], {}
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
