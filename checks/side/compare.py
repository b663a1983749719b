#!/usr/bin/env python3
"""Does the same to a CloudTrail archive and to one of ours, and writes down what each tool says.

    compare.py --verifier target/debug/tally-verify           writes docs/side-by-side.md
    compare.py --verifier target/debug/tally-verify --check   fails if it says something else by now
"""

import argparse
import difflib
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from aws import ARN, Aws
from cases import CASES
from ours import GOLDEN, ROOT, Verifier, make, write_trust
from trail import HOURS, LOGS_AN_HOUR, Signer, Trail

DOCS = ROOT / "docs" / "side-by-side.md"
BEGIN, END = "<!-- begin: written by make side-by-side -->", "<!-- end -->"
WHOLE = {f"{HOURS}/{HOURS} digest files valid",
         f"{HOURS * LOGS_AN_HOUR}/{HOURS * LOGS_AN_HOUR} log files valid"}
WAYS = ["--any-age", "--expect-through", "--checkpoint"]


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as work:
        results = run(options.verifier.resolve(), Path(work))
    text = DOCS.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{DOCS}: has to hold each of these lines once: {BEGIN}, {END}")
    head, rest = text.split(BEGIN)
    now = f"{head}{BEGIN}\n{render(*results)}{END}{rest.split(END)[1]}"
    if options.check and now != text:
        sys.stdout.writelines(difflib.unified_diff(
            text.splitlines(True), now.splitlines(True), "docs/side-by-side.md", "seen now"))
        raise SystemExit("docs/side-by-side.md is not what is seen now: make side-by-side")
    if not options.check:
        DOCS.write_text(now)
    print(f"{len(results[0])} cases: docs/side-by-side.md "
          f"{'holds' if options.check else 'is written'}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verifier", type=Path, required=True, help="the built tally-verify")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if docs differ")
    options = parser.parse_args()
    if not options.verifier.is_file():
        parser.error(f"{options.verifier} is not there: cargo build --locked --workspace")
    return options


def run(program, work):
    """Each case with AWS's lines and exit code and three of ours; and what both say of errors."""
    trust = write_trust(work / "made.toml")
    archives = {
        "golden": (GOLDEN / "archive", GOLDEN / "trust.toml", "2026-11-23T17:00:00Z"),
        "made": (make(work / "first"), trust, "2026-11-23T18:00:00Z"),
        "uncounted": (make(work / "second", counted=False), trust, "2026-11-23T18:00:00Z"),
    }
    ours = {name: Verifier(program, work, name, *rest) for name, rest in archives.items()}
    signer, results = Signer(), []
    with Aws(signer) as aws:
        aws.put(Trail(signer).objects())
        said, code = aws.validate()
        if code != 0 or not WHOLE <= set(said):
            raise SystemExit(f"validate-logs refuses the untouched trail: exit {code}, {said}")
        for case in CASES:
            aws.put(case.trail(Trail(signer)))
            case.archive(ours[case.on].renew())
            results.append((case, aws.validate(), ours[case.on].all_ways()))
        errors = cannot_answer(aws, ours["golden"])
    return results, errors


def cannot_answer(aws, ours):
    """What both say when they cannot say anything of an archive: what, and (line, exit) of each."""
    return [
        ("a needed option is missing", aws.fails("--start-time"), ours.fails("--trust", None)),
        ("the trail, the trust file, is not there", aws.fails("--trail-arn", f"{ARN}-of-nobody"),
         ours.fails("--trust", "no.toml")),
        ("the bucket, the directory, is not there", aws.fails("--s3-bucket", "of-nobody"),
         ours.fails("--archive", "nowhere")),
        ("the server does not answer", aws.fails("--endpoint-url", "http://127.0.0.1:9"),
         ours.fails("--archive", "s3://of-nobody/a", "--s3-endpoint", "http://127.0.0.1:9",
                    "--s3-region", "us-east-1")),
    ]


def render(results, errors):
    return "\n".join([
        f"With `awscli` {version('awscli')} and `moto` {version('moto')}. Exit codes:", "",
        *table(results), "", "### When the question cannot be answered", "",
        *error_table(errors), "", "### What they say", "",
        *(line for number, result in enumerate(results, 1) for line in section(number, *result)),
    ])


def table(results):
    ways = " | ".join(f"`tally-verify {way}`" for way in WAYS)
    yield "| | what is done to the trail | what is done to our archive | by whom | "\
        f"`validate-logs` | {ways} |"
    yield "|---|---|---|---|---|---|---|---|"
    for number, (case, (_, code), ours) in enumerate(results, 1):
        codes = " | ".join(str(code) for code in [code, *(code for _, code in ours)])
        yield f"| {number} | {case.theirs} | {case.ours} | {case.who} | {codes} |"


def error_table(errors):
    yield "| | `validate-logs` says | exit | `tally-verify` says | exit |"
    yield "|---|---|---|---|---|"
    for what, (their_line, their_code), (our_line, our_code) in errors:
        yield f"| {what} | `` {their_line} `` | {their_code} | `` {our_line} `` | {our_code} |"


def section(number, case, theirs, ours):
    """What each says, verbatim; runs that say the same stand together."""
    yield f"#### {number}. Trail: {case.theirs}. Ours: {case.ours}"
    yield ""
    yield "```text"
    yield from block("validate-logs", *theirs)
    groups = []
    for way, answer in zip(WAYS, ours, strict=True):
        if groups and groups[-1][1] == answer:
            groups[-1][0].append(way)
        else:
            groups.append(([way], answer))
    for ways, answer in groups:
        yield from block(f"tally-verify {', '.join(ways)}", *answer)
    yield "```"
    yield ""


def block(who, said, code):
    yield f"{who}: exit {code}"
    yield from (f"    {line}" for line in said)


if __name__ == "__main__":
    main()
