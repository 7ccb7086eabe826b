"""Where a batch writes; everything that can be refused is refused here, before any work."""

import os
import string
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from percept_cli.core.files.formats import WRITABLE_FORMATS, normalize_extension
from percept_cli.core.files.inputs import InputItem
from percept_cli.errors import UsageError, unknown_name

TEMPLATE_FIELDS = ("rel", "stem", "ext", "op", "model")

# Two names that differ only in case are one file where the file system says so.
_IGNORES_CASE = sys.platform in ("win32", "darwin")


def check_model_output(output: Path, overwrite: bool) -> None:
    """Raises UsageError where a model cannot be written to `output`: its name, its folder, a file that is there."""
    if output.suffix != ".safetensors":
        raise UsageError(f"--output {output}: a model is a .safetensors file; give a name that ends so.")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: the folder {output.parent} does not exist. Create it first.")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists. Give --overwrite to replace it, or another --output.")


class _RealFolders(dict[Path, str]):
    """Folder -> its path with every link followed; remembered for one plan, since a batch has few folders."""

    def __missing__(self, folder: Path) -> str:
        self[folder] = os.path.realpath(folder)
        return self[folder]

    def place(self, path: Path) -> str:
        """One text a place: links to folders are followed, a link at the end is itself what a write replaces."""
        place = os.path.join(self[path.parent], path.name)
        return place.casefold() if _IGNORES_CASE else place


@dataclass(frozen=True)
class Job:
    """One image to read (None: standard input) and where it goes (None: standard output); `skip`: it is done."""

    source: Path | None
    destination: Path | None
    skip: bool = False


def plan_outputs(
    items: Sequence[InputItem],
    output: str | None,
    *,
    name: str,
    op: str,
    model: str = "",
    extension: str | None = None,
    others: Sequence[str] = (),
    overwrite: bool,
    skip_existing: bool,
) -> list[Job]:
    """One job an input, in order; UsageError for everything that can be known to be wrong before any work.

    `output` is a folder when it exists as one, ends in a slash or there is more than one input; `-` is standard
    output. Without it a result lies beside its input. In a folder, `name` is filled in with the fields `rel` (the
    input's folder below the one it came from), `stem`, `ext`, `op` and `model`; the tree is kept unless `name` places
    `rel` itself. `extension` replaces the input's own; one that cannot be written becomes `.png`. `others` are what a
    file named by `output` may end in beside the extensions of images, as `.svg`.
    """
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other: give one of them.")
    extension = None if extension is None else normalize_extension(extension)
    fields = _template_fields(name)
    real_folders = _RealFolders()

    if output == "-":
        if len(items) != 1:
            raise UsageError(f"Standard output takes one image, not {len(items)}: give -o a folder.")
        return [Job(items[0].source, None)]
    if output is not None and not _is_folder(output, len(items)):
        destinations: list[Path | None] = [_single_file(output, extension, others)]
    else:
        folder = None if output is None else Path(output)
        destinations = []
        for item in items:
            if folder is None and item.source is None:
                destinations.append(None)
            else:
                values = _field_values(item, op, model, extension)
                rendered = name.format(**values)
                destinations.append(_place(item, folder, rendered, real_folders, keep_tree="rel" not in fields))

    _refuse_shared(items, destinations, real_folders)
    earlier_results = _refuse_or_find_inputs(items, destinations, real_folders, skip_existing)
    return _settle_existing(items, destinations, earlier_results, overwrite, skip_existing)


def create_folders(jobs: Iterable[Job]) -> None:
    """Make the folders that the jobs to be done write into; UsageError where that is not possible."""
    for folder in {job.destination.parent for job in jobs if job.destination is not None and not job.skip}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"The folder '{folder}' cannot be made: {error.strerror or error}.") from error


def _is_folder(output: str, count: int) -> bool:
    separators = tuple(separator for separator in ("/", os.sep, os.altsep) if separator)
    if os.path.isdir(output) or output.endswith(separators):
        return True
    if count > 1 and (os.path.exists(output) or Path(output).suffix.lower() in WRITABLE_FORMATS):
        raise UsageError(f"-o '{output}' is one file for {count} inputs: for a folder of that name, end it in '/'.")
    return count > 1


def _single_file(output: str, extension: str | None, others: Sequence[str]) -> Path:
    path = Path(output)
    if not path.suffix:
        allowed = ", ".join((*WRITABLE_FORMATS, *others))
        raise UsageError(f"-o '{output}' has no extension: add one ({allowed}), or end it in '/' for a folder.")
    if path.suffix.lower() not in others:
        given = normalize_extension(path.suffix)
        if extension is not None and WRITABLE_FORMATS[given] != WRITABLE_FORMATS[extension]:
            raise UsageError(f"-o '{output}' is a {given} file, but {extension} was asked for: leave one of them out.")
    if not path.parent.is_dir():
        raise UsageError(f"The folder '{path.parent}' of -o '{output}' does not exist: make it first.")
    return path


def _template_fields(name: str) -> set[str]:
    try:
        parts = list(string.Formatter().parse(name))
    except ValueError as error:
        raise UsageError(f"--name '{name}' is not a template: {error}.") from error
    fields = set()
    for _, field, specification, conversion in parts:
        if field is None:
            continue
        # Attributes and indices ('{stem.x}') are not fields either, so nothing but text can be reached.
        if field not in TEMPLATE_FIELDS:
            known = [f"{{{known}}}" for known in TEMPLATE_FIELDS]
            raise UsageError(unknown_name("field of --name", f"{{{field}}}", known))
        if specification or conversion:
            raise UsageError(f"--name '{name}': write {{{field}}} alone, without ':' or '!'.")
        fields.add(field)
    return fields


def _field_values(item: InputItem, op: str, model: str, extension: str | None) -> dict[str, str]:
    own = item.relative.suffix
    return {
        "rel": item.relative.parent.as_posix(),
        "stem": item.relative.stem,
        "ext": extension or (own if own.lower() in WRITABLE_FORMATS else ".png"),
        "op": op,
        # A model may be named with its owner, 'owner/model'; a name must not make folders.
        "model": model.replace("/", "-").replace("\\", "-"),
    }


def _place(item: InputItem, folder: Path | None, rendered: str, real_folders: _RealFolders, *, keep_tree: bool) -> Path:
    if folder is None:
        assert item.source is not None
        root = item.source.parents[len(item.relative.parts) - 1]
    else:
        root = folder
    below = (item.relative.parent if keep_tree else Path()) / rendered
    if below.is_absolute() or below.drive or ".." in below.parts:
        raise UsageError(f"--name gives '{rendered}' for '{item.label}', which leads out of the folder '{root}'.")
    if not below.name or rendered.endswith(("/", os.sep)):
        raise UsageError(f"--name gives no file name for '{item.label}'.")
    if below.suffix.lower() not in WRITABLE_FORMATS:
        raise UsageError(
            f"--name gives '{rendered}', which cannot be written: end it in {{ext}} or in one of "
            f"{', '.join(WRITABLE_FORMATS)}."
        )
    destination = root / below
    if not Path(real_folders[destination.parent]).is_relative_to(real_folders[root]):
        raise UsageError(f"'{destination}' leads through a link out of the folder '{root}'.")
    return destination


def _refuse_shared(items: Sequence[InputItem], destinations: Sequence[Path | None], real_folders: _RealFolders) -> None:
    writers: dict[str, InputItem] = {}
    for item, destination in zip(items, destinations, strict=True):
        if destination is None:
            continue
        first = writers.setdefault(real_folders.place(destination), item)
        if first is not item:
            raise UsageError(
                f"'{first.label}' and '{item.label}' would both be written to '{destination}': "
                "use {rel} or {ext} in --name, or separate folders."
            )


def _refuse_or_find_inputs(
    items: Sequence[InputItem],
    destinations: Sequence[Path | None],
    real_folders: _RealFolders,
    skip_existing: bool,
) -> set[InputItem]:
    """Refuse to write over an input; with `skip_existing`, the inputs that are other inputs' results instead.

    A second run over a folder with its results in it meets them as inputs. Nothing is written over then, and taking
    them as done is what lets an interrupted batch go on.
    """
    sources: dict[str, InputItem] = {}
    for item in items:
        if item.source is not None:
            sources[real_folders.place(item.source)] = item
            if item.source.is_symlink():
                sources.setdefault(real_folders.place(item.source.resolve()), item)
    earlier_results = set()
    for item, destination in zip(items, destinations, strict=True):
        overwritten = None if destination is None else sources.get(real_folders.place(destination))
        if overwritten is None:
            continue
        if not skip_existing or overwritten is item:
            raise UsageError(
                f"'{destination}' is an input and would be written over by the result of '{item.label}': "
                "choose another -o or --name."
            )
        earlier_results.add(overwritten)
    return earlier_results


def _settle_existing(
    items: Sequence[InputItem],
    destinations: Sequence[Path | None],
    earlier_results: set[InputItem],
    overwrite: bool,
    skip_existing: bool,
) -> list[Job]:
    jobs = []
    existing = []
    for item, destination in zip(items, destinations, strict=True):
        exists = destination is not None and os.path.lexists(destination)
        if exists and destination is not None:
            existing.append(destination)
            if destination.is_dir():
                raise UsageError(f"'{destination}' is a folder: no image can be written in its place.")
        jobs.append(Job(item.source, destination, skip=skip_existing and (exists or item in earlier_results)))
    if existing and not overwrite and not skip_existing:
        what = "1 output exists" if len(existing) == 1 else f"{len(existing)} outputs exist"
        first = "" if len(existing) == 1 else "the first is "
        raise UsageError(f"{what} already ({first}'{existing[0]}'): add --overwrite or --skip-existing.")
    return jobs
