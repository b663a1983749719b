//! JSON numbers, and the two kinds that an event has: counts and money.
//!
//! Here: exact decimals. Not here: binary floats, which no number of a payload passes through.

use std::fmt;

use super::scan::Scanner;
use super::{PayloadError, Reason};

/// An exact amount of money with nine fraction digits, from 0 to 999999999.999999999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

/// Why a text is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// Not the grammar of a JSON number.
    #[error("the amount is not written as a JSON number")]
    NotANumber,
    /// A minus sign, also that of `-0`.
    #[error("the amount has a minus sign")]
    Negative,
    /// The value does not fit 9 integer and 9 fraction digits.
    #[error("the amount needs more than 9 integer or 9 fraction digits")]
    NotExact,
}

impl Money {
    /// 999999999.999999999, the largest amount.
    pub const MAX: Self = Self(999_999_999_999_999_999);
    const FRACTION_DIGITS: i64 = 9;

    /// Takes a count of 10^-9 units; `None` below 0 or above [`Money::MAX`].
    pub const fn new(nano: i64) -> Option<Self> {
        if nano < 0 || nano > Self::MAX.0 { None } else { Some(Self(nano)) }
    }

    /// The count of 10^-9 units.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Reads the text of a JSON number. The value counts, not how it is written: `1.0000000000`
    /// is 1, and `0e999` is 0.
    pub fn parse_json_number(text: &str) -> Result<Self, MoneyError> {
        if number_bytes(text.as_bytes()) != Ok(text.len()) {
            return Err(MoneyError::NotANumber);
        }
        if text.starts_with('-') {
            return Err(MoneyError::Negative);
        }
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        Self::from_parts(integer, fraction, exponent).ok_or(MoneyError::NotExact)
    }

    fn from_parts(integer: &str, fraction: &str, exponent: &str) -> Option<Self> {
        // The value is `significand` x 10^`place`, with the zeros at its end counted, not kept:
        // then eighteen digits are enough for every amount that fits.
        let (mut significand, mut zeros) = (0_i64, 0_i64);
        for digit in integer.bytes().chain(fraction.bytes()).map(|byte| i64::from(byte - b'0')) {
            zeros += 1;
            if digit != 0 {
                significand = times_ten_to(significand, zeros)?.checked_add(digit)?;
                zeros = 0;
            }
        }
        let place = saturating(exponent) - i64::try_from(fraction.len()).ok()? + zeros;
        times_ten_to(significand, place + Self::FRACTION_DIGITS).and_then(Self::new)
    }
}

impl fmt::Display for Money {
    /// Always with nine fraction digits: `0.000002500`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNIT: i64 = 1_000_000_000;
        write!(f, "{}.{:09}", self.0 / UNIT, self.0 % UNIT)
    }
}

fn times_ten_to(number: i64, places: i64) -> Option<i64> {
    if number == 0 {
        return Some(0);
    }
    number.checked_mul(10_i64.checked_pow(u32::try_from(places).ok()?)?)
}

/// An exponent, or one that is as hopeless where it would overflow. The digits of a payload are too
/// few to bring it back into range.
fn saturating(exponent: &str) -> i64 {
    const FAR: i64 = 1 << 60;
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    let size = digits.bytes().fold(0_i64, |sum, byte| {
        sum.saturating_mul(10).saturating_add(i64::from(byte - b'0')).min(FAR)
    });
    sign * size
}

impl<'a> Scanner<'a> {
    /// Reads a number, the cursor at its first byte.
    pub(super) fn number(&mut self) -> Result<&'a str, PayloadError> {
        let start = self.at;
        match number_bytes(self.rest()) {
            Ok(bytes) => {
                self.at += bytes;
                Ok(self.since(start))
            }
            Err(bytes) => Err(PayloadError::new(Reason::BadNumber, start + bytes)),
        }
    }
}

/// Reads a count: plain digits, 0 to 2^63-1.
pub(super) fn count(number: &str) -> Result<i64, Reason> {
    let size = number.strip_prefix('-').unwrap_or(number);
    if number == "-0" || size.bytes().any(|byte| !byte.is_ascii_digit()) {
        return Err(Reason::NotAnInteger);
    }
    number.parse().ok().filter(|count| *count >= 0).ok_or(Reason::OutOfRange)
}

/// The length of the JSON number that the bytes start with; else where it goes wrong.
fn number_bytes(bytes: &[u8]) -> Result<usize, usize> {
    let digits = |from: usize| {
        let run = bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
        if run == 0 { Err(from) } else { Ok(from + run) }
    };
    let byte = |at: usize| bytes.get(at).copied();

    let sign = usize::from(byte(0) == Some(b'-'));
    let mut end = digits(sign)?;
    if byte(sign) == Some(b'0') && end > sign + 1 {
        return Err(sign + 1);
    }
    if byte(end) == Some(b'.') {
        end = digits(end + 1)?;
    }
    if let Some(b'e' | b'E') = byte(end) {
        end += 1;
        end = digits(end + usize::from(matches!(byte(end), Some(b'+' | b'-'))))?;
    }
    Ok(end)
}
