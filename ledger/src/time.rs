//! Times of the ledger: microseconds since 1970-01-01T00:00:00Z, whole hours and whole days.
//!
//! Here: the three types, and the one text form that notes use. Not here: reading a clock (nothing
//! in this crate does), and the looser RFC 3339 of `occurred_at` (see [`crate::payload`]).

use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z (FORMAT, "Times").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(i64);

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in an hour.
pub const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// The last microsecond that has a four-digit year: 9999-12-31T23:59:59.999999Z.
const LAST: i64 = 253_402_300_799_999_999;

/// Why a text is not a time of the form that notes use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time of the form {form}")]
pub struct TimeError {
    text: String,
    form: &'static str,
}

impl Micros {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// 9999-12-31T23:59:59.999999Z, the last time that this format can write.
    pub const MAX: Self = Self(LAST);

    /// Takes a count of microseconds; `None` before 1970 or after 9999.
    pub const fn new(micros: i64) -> Option<Self> {
        if micros < 0 || micros > LAST { None } else { Some(Self(micros)) }
    }

    /// The count of microseconds since 1970-01-01T00:00:00Z.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The hour that this time lies in.
    pub const fn hour(self) -> Hour {
        Hour(self.0.div_euclid(HOUR))
    }

    /// Adds microseconds; `None` where the sum leaves the years 1970 to 9999.
    pub fn checked_add(self, micros: i64) -> Option<Self> {
        self.0.checked_add(micros).and_then(Self::new)
    }

    /// The instant of a civil date and time in UTC; `None` where there is no such date or time.
    pub(crate) fn from_civil(
        year: i64,
        month: i64,
        day: i64,
        second_of_day: i64,
        micros: i64,
    ) -> Option<i64> {
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        Some(days_from_civil(year, month, day) * DAY + second_of_day * SECOND + micros)
    }

    /// Reads the form that [`fmt::Display`] writes, and no other.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let form = "2026-11-23T16:00:00.000000Z";
        let error = || TimeError { text: text.chars().take(64).collect(), form };
        let (head, micros) =
            text.strip_suffix('Z').and_then(|t| t.split_once('.')).ok_or_else(error)?;
        let micros = (micros.len() == 6).then(|| digits(micros.as_bytes())).flatten();
        let seconds = civil_seconds(head).ok_or_else(error)?;
        let micros = micros.ok_or_else(error)?;
        Self::new(seconds * SECOND + micros).ok_or_else(error)
    }
}

impl fmt::Display for Micros {
    /// RFC 3339 in UTC with six fraction digits and a `Z` (FORMAT section 7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        let rest = self.0.rem_euclid(DAY);
        let (second, micros) = (rest / SECOND, rest % SECOND);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}Z",
            second / 3_600,
            second / 60 % 60,
            second % 60
        )
    }
}

/// A whole hour, counted from 1970-01-01T00Z (FORMAT sections 7 and 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

impl Hour {
    /// The first microsecond of the hour.
    pub const fn start(self) -> Micros {
        Micros(self.0 * HOUR)
    }

    /// The first microsecond after the hour, as a bare count: the last hour of 9999 has no
    /// [`Micros`] after it.
    pub const fn end(self) -> i64 {
        (self.0 + 1) * HOUR
    }

    /// Whether the time lies in this hour.
    pub const fn contains(self, at: Micros) -> bool {
        at.hour().0 == self.0
    }

    /// The hour after this one; `None` after the last hour of 9999.
    pub fn next(self) -> Option<Self> {
        Micros::new(self.end()).map(Micros::hour)
    }

    /// Hours from `self` to `later`, negative where `later` is the earlier one.
    pub const fn until(self, later: Self) -> i64 {
        later.0 - self.0
    }

    /// The UTC date as `YYYY-MM-DD`, as it stands in archive keys (FORMAT section 9).
    pub fn date(self) -> String {
        let (year, month, day) = civil_from_days(self.0.div_euclid(24));
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// The hour of the day, 0 to 23, as it stands in archive keys (FORMAT section 9).
    pub const fn of_day(self) -> i64 {
        self.0.rem_euclid(24)
    }

    /// Reads `2026-11-23T16:00:00Z`, and no other form.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let form = "2026-11-23T16:00:00Z";
        let error = || TimeError { text: text.chars().take(64).collect(), form };
        let seconds = text.strip_suffix('Z').and_then(civil_seconds).ok_or_else(error)?;
        if seconds % 3_600 != 0 {
            return Err(error());
        }
        Micros::new(seconds * SECOND).map(Micros::hour).ok_or_else(error)
    }

    /// Reads the two parts of an archive key: `2026-11-23` and `16`.
    pub(crate) fn from_key(date: &str, hour: &str) -> Option<Self> {
        if hour.len() != 2 {
            return None;
        }
        Self::parse(&format!("{date}T{hour}:00:00Z")).ok()
    }
}

impl fmt::Display for Hour {
    /// RFC 3339 in UTC without a fraction: `2026-11-23T16:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{:02}:00:00Z", self.date(), self.of_day())
    }
}

/// A whole UTC day, counted from 1970-01-01: the period of a rollup (FORMAT section 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// The last day that this format can write: 9999-12-31.
    pub const LAST: Self = Self(2_932_896);

    /// Takes a count of days since 1970-01-01; `None` before 1970 or after 9999.
    pub const fn new(days: i32) -> Option<Self> {
        if days < 0 || days > Self::LAST.0 { None } else { Some(Self(days)) }
    }

    /// The count of days since 1970-01-01.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The day that a time lies in.
    pub fn of(at: Micros) -> Self {
        // A time of this format lies in a day of it.
        Self(i32::try_from(at.0.div_euclid(DAY)).unwrap_or(Self::LAST.0))
    }

    /// The first microsecond of the day.
    pub fn start(self) -> Micros {
        Micros(i64::from(self.0) * DAY)
    }

    /// The first microsecond after the day, as a bare count: 9999-12-31 has no [`Micros`] after it.
    pub fn end(self) -> i64 {
        self.start().0 + DAY
    }

    /// The day so many days earlier; 1970-01-01 where there is none.
    #[must_use]
    pub fn back(self, days: u16) -> Self {
        Self((self.0 - i32::from(days)).max(0))
    }

    /// The day so many days later; 9999-12-31 where there is none.
    #[must_use]
    pub fn ahead(self, days: u16) -> Self {
        Self((self.0 + i32::from(days)).min(Self::LAST.0))
    }

    /// Reads `2026-11-23`, and no other form.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let hour = Hour::parse(&format!("{text}T00:00:00Z"));
        hour.map(|hour| Self::of(hour.start())).map_err(|_| {
            let form = "2026-11-23";
            TimeError { text: text.chars().take(64).collect(), form }
        })
    }
}

impl fmt::Display for Day {
    /// `2026-11-23`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.start().hour().date())
    }
}

/// Plain ASCII digits, at most eighteen of them, so that the sum cannot overflow.
pub(crate) fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0_i64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

/// `2026-11-23T16:00:00` as seconds since 1970.
fn civil_seconds(text: &str) -> Option<i64> {
    let bytes: &[u8; 19] = text.as_bytes().try_into().ok()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] =
        *bytes
    else {
        return None;
    };
    let (hour, minute, second) = (digits(&[h1, h2])?, digits(&[n1, n2])?, digits(&[s1, s2])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = Micros::from_civil(
        digits(&[y1, y2, y3, y4])?,
        digits(&[m1, m2])?,
        digits(&[d1, d2])?,
        hour * 3_600 + minute * 60 + second,
        0,
    )?;
    Some(micros / SECOND)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// Days are counted in a calendar whose year starts on 1 March, so that the leap day is its last:
// then a month's first day is a linear function of the month, and no table is needed.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) =
        if month < 10 { (year_of_era, month + 3) } else { (year_of_era + 1, month - 9) };
    (era * 400 + year, month, day)
}
