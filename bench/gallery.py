"""The pictures of docs/gallery.md, made anew by running the commands that stand there (`make gallery`)."""

import argparse
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Runs every line that begins with `percept`, in order, in the project's folder; what exists is replaced."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--only", help="a word that the commands to run hold")
    given = parser.parse_args()
    (ROOT / "runs" / "gallery").mkdir(parents=True, exist_ok=True)
    for block in re.findall(r"```sh\n(.*?)```", given.page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["percept"] or (given.only and given.only not in words):
                continue
            started = time.monotonic()
            subprocess.run([sys.executable, "-m", "percept_cli", *words[1:], "--overwrite"], cwd=ROOT, check=True)
            print(f"{time.monotonic() - started:5.1f} s  {line}")


if __name__ == "__main__":
    main()
