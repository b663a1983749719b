//! JSON strings.
//!
//! Here: their grammar, and what no string of a payload may hold (FORMAT section 2). Not here:
//! UTF-8, which holds for the payload as a whole.

use std::borrow::Cow;

use super::scan::Scanner;
use super::{PayloadError, Reason};

impl<'a> Scanner<'a> {
    /// Reads a string, the cursor at its opening quote. Borrowed where it has no escape.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, PayloadError> {
        self.at += 1;
        let plain = self.plain_run();
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        while let Some(c) = self.escape()? {
            text.push(c);
            text.push_str(self.plain_run());
        }
        Ok(Cow::Owned(text))
    }

    /// Steps over a string.
    pub(super) fn skip_string(&mut self) -> Result<(), PayloadError> {
        self.at += 1;
        self.plain_run();
        while self.escape()?.is_some() {
            self.plain_run();
        }
        Ok(())
    }

    /// Steps over the bytes before the next quote, backslash or control character.
    fn plain_run(&mut self) -> &'a str {
        let start = self.at;
        self.at += plain_bytes(self.rest());
        self.since(start)
    }

    /// Reads what ends a plain run: an escape, or the closing quote (`None`).
    fn escape(&mut self) -> Result<Option<char>, PayloadError> {
        let start = self.at;
        let fail = |reason| Err(PayloadError::new(reason, start));
        match self.peek() {
            Some(b'\\') => self.at += 1,
            Some(b'"') => {
                self.at += 1;
                return Ok(None);
            }
            Some(0) => return fail(Reason::Nul),
            Some(byte) => return fail(Reason::ControlCharacter { byte }),
            None => return fail(Reason::CutOff),
        }
        let Some(kind) = self.peek() else {
            return fail(Reason::CutOff);
        };
        self.at += 1;
        let unit = match kind {
            b'"' | b'\\' | b'/' => return Ok(Some(char::from(kind))),
            b'b' => return Ok(Some('\u{8}')),
            b'f' => return Ok(Some('\u{c}')),
            b'n' => return Ok(Some('\n')),
            b'r' => return Ok(Some('\r')),
            b't' => return Ok(Some('\t')),
            b'u' => self.hex4(),
            _ => None,
        };
        let code = match unit {
            None => return fail(Reason::BadEscape),
            Some(0) => return fail(Reason::Nul),
            Some(high @ 0xd800..0xdc00) => match self.word("\\u").then(|| self.hex4()).flatten() {
                Some(low @ 0xdc00..0xe000) => 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00),
                _ => return fail(Reason::LoneSurrogate),
            },
            Some(code) => code,
        };
        // A low half on its own is no `char`.
        char::from_u32(code).map_or_else(|| fail(Reason::LoneSurrogate), |c| Ok(Some(c)))
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits: &[u8; 4] = self.rest().first_chunk()?;
        let code = digits.iter().try_fold(0, |sum, digit| {
            char::from(*digit).to_digit(16).map(|digit| sum << 4 | digit)
        })?;
        self.at += digits.len();
        Some(code)
    }
}

/// How many bytes come before the first that ends a plain run: a quote, a backslash or a control
/// character.
fn plain_bytes(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (word, at) in words.iter().zip((0..).step_by(8)) {
        let ends = run_ends(u64::from_le_bytes(*word));
        if ends != 0 {
            return at + (ends.trailing_zeros() / 8) as usize;
        }
    }
    let rest = tail.iter().take_while(|byte| !matches!(byte, 0..0x20 | b'"' | b'\\')).count();
    bytes.len() - tail.len() + rest
}

/// Eight bytes at once: the lowest bit that is set lies in the first byte that ends a plain run.
/// Higher bits may be wrong, as a subtraction borrows from the byte above it.
const fn run_ends(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let control = word.wrapping_sub(0x20 * ONES) & !word;
    let quote = word ^ (b'"' as u64 * ONES);
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = word ^ (b'\\' as u64 * ONES);
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & HIGH
}
