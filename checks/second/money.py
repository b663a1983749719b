"""Compares exact decimals with Python's, as another implementation of them.

    python money.py numbers 1000000 1 > numbers      N numbers, good and bad, from a seed
    cargo run --example money < numbers > results    what the ledger makes of each
    paste numbers results | python money.py          compares; exit 0 when every line agrees

A result is an exact decimal with nine fraction digits, or `refused`.
"""

import random
import sys
from decimal import Context, Decimal, Inexact, InvalidOperation

from payload import NUMBER_TEXT

# Exact or an error: nothing is rounded. Wide enough for any text that a payload can hold.
EXACT = Context(prec=2_000_000, Emin=-999_999_999, Emax=999_999_999,
                traps=[Inexact, InvalidOperation])
UNIT = Decimal("1e-9")


def expected(text):
    """What the format makes of a text: the value decides, not how it is written."""
    match = NUMBER_TEXT.fullmatch(text)
    if not match or match["minus"]:
        return "refused"
    try:
        value = EXACT.create_decimal(text)
        if value >= 10**9:
            return "refused"
        return f"{value.quantize(UNIT, context=EXACT):f}"
    except (InvalidOperation, Inexact):
        return "refused"


def numbers(count, seed):
    """Numbers at and around the limits, and texts that are nearly numbers."""
    dice = random.Random(seed)

    def digits(most):
        run = "".join(dice.choice("0123456789") for _ in range(dice.randint(1, most)))
        return run.rstrip("0") + "0" * dice.randint(0, 3) if dice.random() < 0.3 else run

    for _ in range(count):
        text = digits(11).lstrip("0") or "0"
        if dice.random() < 0.7:
            text += "." + (digits(12) or "0")
        if dice.random() < 0.5:
            text += dice.choice("eE") + dice.choice(("", "+", "-")) + str(dice.randint(0, 14))
        kind = dice.random()
        if kind < 0.02:
            text = "-" + text
        elif kind < 0.06:
            at = dice.randrange(len(text) + 1)
            text = text[:at] + dice.choice("0-+.eE x") + text[at:]
        elif kind < 0.08:
            text = "0." + "0" * dice.randint(0, 30) + text.lstrip("-")
        elif kind < 0.09:
            text += dice.choice(("e400", "e-400", "e99999999999999999999", "e-0"))
        yield text


def compare(lines):
    checked = wrong = 0
    for line in lines:
        text, _, result = line.rstrip("\n").partition("\t")
        checked += 1
        if expected(text) != result:
            wrong += 1
            if wrong <= 10:
                print(f"{text!r}: expected {expected(text)}, found {result}", file=sys.stderr)
    print(f"{checked - wrong} passed, {wrong} failed")
    return 1 if wrong or not checked else 0


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "numbers":
        for text in numbers(int(arguments[1]), int(arguments[2])):
            print(text)
        return 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    return compare(sys.stdin)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
