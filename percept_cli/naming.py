"""Names of results: they tell the options that were chosen, so that two different runs have two names."""

import os
import re
from pathlib import Path
from typing import Any

from percept_cli.arguments import UNRELATED


def _is_file(value: Any) -> bool:
    """Whether a value names a file: also a text, as that of an extractor in the user's own folder."""
    return isinstance(value, Path) or (isinstance(value, str) and os.path.isabs(value))


class Chosen(dict[str, Any]):
    """The options of a command whose values are not their defaults, by name; `flatten` fills a parameter of this type."""

    # What a result is does not depend on these.
    NEUTRAL = UNRELATED | {
        "image", "images", "pictures", "logs", "data", "tile", "quality", "no_provenance", "strip"
    }  # fmt: skip

    def describe(self, what: str, *named: str) -> str:
        """What was done, for the names of files: `wave`, and with `--strength 0.6` `wave_strength-0.6`.

        named: the options that `what` tells of already.
        """
        parts = [what]
        for name, value in self.items():
            if name in self.NEUTRAL or name in named:
                continue
            option, values = name.replace("_", "-"), value if isinstance(value, (list, tuple)) else [value]
            text = "+".join(Path(each).stem if _is_file(each) else str(each) for each in values)
            parts.append(option if value is True else f"no-{option}" if value is False else f"{option}-{text}")
        # The name or the file of an extractor may hold slashes, which would make folders.
        return re.sub(r"[/\\:]", "-", "_".join(parts)).replace(",", "+")
