"""Pictures in labelled folders, FOLDER/class/..., for a probe: read without torch, so that a wrong folder is told at once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from percept_cli.core.inputs import expand_inputs
from percept_cli.errors import UsageError

USUAL_FOLDS = 5


@dataclass(frozen=True)
class LabelledFiles:
    """Image files, the class of each, and the files that lie beside the folders of the classes."""

    files: tuple[Path, ...]
    classes: tuple[str, ...]
    unlabelled: tuple[Path, ...] = ()


def find_labelled(folder: Path) -> LabelledFiles:
    """The images of FOLDER/class/..., each class searched through, sorted by class and name.

    Raises UsageError for what is no folder, for fewer than two classes and for a class without an image.
    """
    if not folder.is_dir():
        raise UsageError(f"--probe {folder}: there is no such folder.")
    labelled: list[tuple[Path, str]] = []
    for place in sorted(folder.iterdir()):
        if place.is_dir() and not place.name.startswith("."):
            items = expand_inputs([str(place)], recursive=True, from_file=None)
            labelled += [(item.source, place.name) for item in items if item.source is not None]
    classes = sorted({name for _, name in labelled})
    if len(classes) < 2:
        found = f"one class, '{classes[0]}'" if classes else "no folders"
        raise UsageError(
            f"--probe {folder} holds {found}: give a folder with a folder of images for each of two or more classes."
        )
    beside = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    files, names = zip(*labelled, strict=True)
    return LabelledFiles(files, names, tuple(beside))


def check_folds(classes: Sequence[str], folds: int) -> None:
    """Raises UsageError when there are fewer than two classes, or fewer pictures of one than folds."""
    counts = Counter(classes)
    if len(counts) < 2:
        raise UsageError("Only one class has pictures that can be read: a probe needs two.")
    name, fewest = min(counts.items(), key=lambda entry: entry[1])
    if fewest < folds:
        less = f", or --folds {fewest}" if fewest > 1 else ""
        raise UsageError(
            f"Class '{name}' has {fewest} of the {folds} pictures that {folds} folds need: add some{less}."
        )
