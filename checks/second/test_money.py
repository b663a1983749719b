"""The two ways in which this second implementation reads money agree."""

import unittest

from money import expected, numbers
from payload import Refused, money


class Money(unittest.TestCase):
    def test_agree(self):
        accepted = 0
        for text in numbers(20_000, 2):
            try:
                result = f"{money(text):f}"
                accepted += 1
            except Refused:
                result = "refused"
            self.assertEqual(result, expected(text), text)
        self.assertGreater(accepted, 5_000)


if __name__ == "__main__":
    unittest.main()
