"""What the second verifier says of each case of the must-reject corpus.

    python corpus.py DIRECTORY

Prints a list of pairs: the case's directory, and what it says.
"""

import json
import sys
import tomllib
from pathlib import Path

from archive import Archive
from primitives import Bad
from verify import Audit


def judge(case):
    arguments = tomllib.loads((case / "case.toml").read_text(encoding="utf-8"))["arguments"]
    days = []
    if "--min-kept-days" in arguments:
        days = [int(arguments[arguments.index("--min-kept-days") + 1])]
    try:
        trust = tomllib.loads((case / "trust.toml").read_text(encoding="utf-8"))
        return Audit(Archive(str(case / "archive")), trust, *days).run()["verdict"]
    except Bad as error:
        return f"broken: {error}"


def main(directory):
    cases = sorted(Path(directory).iterdir())
    print(json.dumps([(case.name, judge(case)) for case in cases], ensure_ascii=False))


main(sys.argv[1])
