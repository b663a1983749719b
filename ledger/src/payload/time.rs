//! `occurred_at`: the profile of RFC 3339 that FORMAT section 2 takes.
//!
//! Here: any offset under a day, up to nine fraction digits. Not here: the one form that notes use
//! (see [`crate::time`]).

use super::Reason;
use crate::time::{Micros, SECOND, digits};

/// Reads an `occurred_at`; the digits after the microsecond are cut off.
pub fn occurred_at(text: &str) -> Result<Micros, Reason> {
    let (civil, tail) = text
        .as_bytes()
        .split_first_chunk()
        .ok_or(Reason::BadTime("it is cut off, or has no offset such as `Z`"))?;
    let civil = civil_micros(civil)?;
    let (fraction, offset) = match tail {
        [b'.', tail @ ..] => {
            let end = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
            tail.split_at_checked(end).unwrap_or_default()
        }
        _ => (&b"0"[..], tail),
    };
    let fraction = micros(fraction)?;
    let offset = offset_seconds(offset)?;
    Micros::new(civil + fraction - offset * SECOND)
        .ok_or(Reason::BadTime("in UTC it is not within the years 1970 to 9999"))
}

/// The microseconds to `2026-11-23T16:00:00`, as if in UTC.
fn civil_micros(text: &[u8; 19]) -> Result<i64, Reason> {
    const FORM: Reason = Reason::BadTime("it does not start like 2026-11-23T16:00:00");
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] =
        *text
    else {
        return Err(FORM);
    };
    let number = |text: &[u8]| digits(text).ok_or(FORM);
    let year = number(&[y1, y2, y3, y4])?;
    let (month, day) = (number(&[m1, m2])?, number(&[d1, d2])?);
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[n1, n2])?, number(&[s1, s2])?);
    if year < 1970 {
        return Err(Reason::BadTime("the year is not within 1970 to 9999"));
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err(Reason::BadTime("there is no such time of day (nor a leap second)"));
    }
    Micros::from_civil(year, month, day, hour * 3_600 + minute * 60 + second, 0)
        .ok_or(Reason::BadTime("there is no such date"))
}

/// The microseconds in one to nine fraction digits.
fn micros(fraction: &[u8]) -> Result<i64, Reason> {
    let mut nanos = [b'0'; 9];
    match nanos.get_mut(..fraction.len()) {
        Some(head) if !head.is_empty() => head.copy_from_slice(fraction),
        _ => return Err(Reason::BadTime("a fraction has 1 to 9 digits")),
    }
    Ok(digits(&nanos).unwrap_or_default() / 1_000)
}

/// The seconds in `Z` or an offset such as `+01:00`.
fn offset_seconds(text: &[u8]) -> Result<i64, Reason> {
    let (sign, hour, minute) = match *text {
        [b'Z'] => return Ok(0),
        [b'+', h1, h2, b':', m1, m2] => (1, digits(&[h1, h2]), digits(&[m1, m2])),
        [b'-', h1, h2, b':', m1, m2] => (-1, digits(&[h1, h2]), digits(&[m1, m2])),
        _ => {
            return Err(Reason::BadTime("it does not end in `Z` or an offset such as +01:00"));
        }
    };
    match (hour, minute) {
        (Some(hour @ 0..24), Some(minute @ 0..60)) => Ok(sign * (hour * 3_600 + minute * 60)),
        _ => Err(Reason::BadTime("an offset is at most 23:59")),
    }
}
