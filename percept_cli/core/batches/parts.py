"""What the workers of a cluster record: each adds to a part of its own beside the manifest of the batch.

A part holds entries as the manifest does, and an ATTEMPT before each picture. So nothing is lost with the process that
started the batch, and a worker that begins again knows which pictures are done and which ended it.
"""

import json
import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from percept_cli.core.batches.records import DONE, FAILED, Entry, ManifestWriter, part_name, read_entries
from percept_cli.core.files.atomic import sync_file

ATTEMPT = "attempt"  # the status of an entry that `read_manifest` leaves out


@dataclass(frozen=True)
class Run:
    """One run of a batch on a cluster, whose workers add to parts of a manifest.

    manifest: an absolute path. name: in no other run. began: the manifest's time of change in nanoseconds, of the clock of
    its filesystem; no picture of this run is older.
    """

    manifest: Path
    name: str
    began: int

    @classmethod
    def begin(cls, manifest: Path) -> "Run":
        """A new run of a manifest that exists. Raises OSError."""
        os.utime(manifest)
        return cls(manifest.absolute(), os.urandom(4).hex(), manifest.stat().st_mtime_ns)

    def new_part(self) -> Path:
        """The path of a part for one more worker."""
        return self.manifest.with_name(part_name(self.manifest, f"{self.name}-{os.urandom(4).hex()}"))

    def parts(self) -> list[Path]:
        """The parts of all workers so far."""
        return sorted(self.manifest.parent.glob(part_name(self.manifest, f"{self.name}-*")))

    def count_attempts(self) -> Counter[str]:
        """How often a worker began a picture and did not end it, by the absolute path of its result."""
        attempts: Counter[str] = Counter()
        for part in self.parts():
            begun: Counter[str] = Counter()
            for entry in read_entries(part):
                if entry.get("status") == ATTEMPT:
                    begun[self._place(entry)] += 1
                elif entry.get("status") in (DONE, FAILED):
                    del begun[self._place(entry)]
            attempts += begun
        return attempts

    def find_done(self, outputs: Collection[str]) -> dict[str, Entry]:
        """The entries of results that are done, of those given, by their absolute paths."""
        names = [json.dumps(os.path.basename(output))[1:-1].encode() for output in outputs]
        found: dict[str, Entry] = {}
        for part in self.parts():
            for entry in read_entries(part, names):
                output = self._place(entry)
                if entry.get("status") == DONE and output in outputs:
                    found[output] = entry
        return found

    def merge(self) -> None:
        """Moves the entries of all parts into the manifest, when no worker is left that adds to them.

        They are on the disk there before a part is removed: one that is killed in between leaves entries twice, which say
        the same.
        """
        parts = self.parts()
        writer = ManifestWriter(self.manifest)
        try:
            for part in parts:
                with part.open("rb") as file:
                    for line in file:
                        if line.endswith(b"\n") and not line.startswith(ATTEMPT_LINE):
                            writer.add_line(line)
        finally:
            writer.close()
        sync_file(self.manifest)
        for part in parts:
            part.unlink(missing_ok=True)

    def _place(self, entry: Entry) -> str:
        return os.path.normpath(self.manifest.parent / str(entry.get("output")))


ATTEMPT_LINE = json.dumps({"status": ATTEMPT})[:-1].encode()


def attempt(output: str) -> Entry:
    """The entry of a picture that a worker begins."""
    return {"status": ATTEMPT, "output": output}
