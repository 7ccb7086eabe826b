"""The pictures of docs/gallery.md, made anew by running the commands that stand there (`make gallery`)."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Runs every line that begins with `percept`, in order, in the project's folder; what exists is replaced.

    Those that begin with `chromium` take pictures of pages, and are left out where there is none.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--only", help="a text that the commands to run hold")
    given = parser.parse_args()
    (ROOT / "runs" / "gallery").mkdir(parents=True, exist_ok=True)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    for block in re.findall(r"```sh\n(.*?)```", given.page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] not in (["percept"], ["chromium"]) or (given.only and given.only not in line):
                continue
            started = time.monotonic()
            if words[0] == "percept":
                subprocess.run([sys.executable, "-m", "percept_cli", *words[1:], "--overwrite"], cwd=ROOT, check=True)
            elif chromium is None:
                print(f"there is no Chromium: left out: {line}")
                continue
            else:
                # Its sandbox is not for root, who runs containers.
                unboxed = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
                subprocess.run([chromium, *unboxed, *words[1:]], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
            print(f"{time.monotonic() - started:5.1f} s  {line}")


if __name__ == "__main__":
    main()
