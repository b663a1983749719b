//! Times beside another library's, the ledger's clock, and counters beside a plain set.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;

use jiff::Timestamp;
use ledger::counters::Counters;
use ledger::entry::{ClockError, next_recorded_at};
use ledger::time::{Hour, Micros};
use proptest::prelude::*;

#[test]
fn times_at_the_edges_of_the_calendar() {
    for (text, micros) in [
        ("1970-01-01T00:00:00.000000Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1972-02-29T23:59:59.999999Z", 68_255_999_999_999),
        ("2000-02-29T12:00:00.000000Z", 951_825_600_000_000),
        ("2026-11-23T16:00:00.000000Z", 1_795_449_600_000_000),
        ("2100-03-01T00:00:00.000000Z", 4_107_542_400_000_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
    ] {
        assert_eq!(Micros::parse(text).unwrap().get(), micros);
        assert_eq!(Micros::new(micros).unwrap().to_string(), text);
    }
    assert_eq!((Micros::new(-1), Micros::new(Micros::MAX.get() + 1)), (None, None));
    assert_eq!(Micros::MAX.checked_add(1), None);
    assert_eq!(Micros::EPOCH.checked_add(-1), None);
    assert_eq!(Micros::MAX.checked_add(i64::MAX), None);
    assert_eq!(Micros::MAX.hour().next(), None);
    for bad in [
        "",
        "Z",
        "1969-12-31T23:59:59.999999Z",
        "10000-01-01T00:00:00.000000Z",
        "2026-02-29T00:00:00.000000Z",
        "2100-02-29T00:00:00.000000Z",
        "2026-00-01T00:00:00.000000Z",
        "2026-13-01T00:00:00.000000Z",
        "2026-04-31T00:00:00.000000Z",
        "2026-01-00T00:00:00.000000Z",
        "2026-01-32T00:00:00.000000Z",
        "2026-01-01T24:00:00.000000Z",
        "2026-01-01T00:60:00.000000Z",
        "2026-12-31T23:59:60.000000Z",
        "2026-01-01T00:00:00.00000Z",
        "2026-01-01T00:00:00.0000000Z",
        "2026-01-01T00:00:00Z",
        "2026-01-01t00:00:00.000000Z",
        "2026-01-01T00:00:00.000000z",
        "2026-01-01 00:00:00.000000Z",
        "2026-01-01T00:00:00.000000+00:00",
        "2026-01-01T00:00:00,000000Z",
        "+026-01-01T00:00:00.000000Z",
        "2026-1-001T00:00:00.000000Z",
        "２026-01-01T00:00:00.000000Z",
    ] {
        assert!(Micros::parse(bad).is_err(), "{bad}");
    }
    for bad in [
        "",
        "2026-11-23T16:00:00.000000Z",
        "2026-11-23T16:01:00Z",
        "2026-11-23T16:00:01Z",
        "2026-11-23T16Z",
        "2026-11-31T16:00:00Z",
        "2026-11-23T24:00:00Z",
        "1969-12-31T23:00:00Z",
    ] {
        assert!(Hour::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_day_of_four_centuries_is_as_jiff_has_it() {
    let mut hour = Hour::parse("1970-01-01T00:00:00Z").unwrap();
    let day = 24 * ledger::time::HOUR;
    let four_centuries = 146_097;
    for _ in 0..four_centuries {
        let at = hour.start();
        let jiff = Timestamp::from_microsecond(at.get()).unwrap();
        assert_eq!(hour.date(), jiff.strftime("%Y-%m-%d").to_string());
        assert_eq!(Hour::parse(&hour.to_string()), Ok(hour));
        hour = at.checked_add(day).unwrap().hour();
    }
}

proptest! {
    #[test]
    fn times_are_as_jiff_has_them(at in 0..=Micros::MAX.get()) {
        let micros = Micros::new(at).unwrap();
        let jiff = Timestamp::from_microsecond(at).unwrap();
        let text = jiff.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        prop_assert_eq!(micros.to_string(), text.clone());
        prop_assert_eq!(Micros::parse(&text), Ok(micros));
        let hour = micros.hour();
        prop_assert!(hour.contains(micros) && hour.start() <= micros && at < hour.end());
        prop_assert_eq!(hour.to_string(), jiff.strftime("%Y-%m-%dT%H:00:00Z").to_string());
        prop_assert_eq!(format!("{:02}", hour.of_day()), jiff.strftime("%H").to_string());
        prop_assert_eq!(hour.until(Hour::parse("2026-11-23T16:00:00Z").unwrap()) + at / ledger::time::HOUR, 498_736);
        if let Some(next) = hour.next() {
            prop_assert_eq!(hour.until(next), 1);
            prop_assert!(!next.contains(micros));
        }
    }

    #[test]
    fn counters_are_a_set(taken in prop::collection::vec(prop_oneof![0_u64..40, 1..=i64::MAX.unsigned_abs(), Just(i64::MAX.unsigned_abs())], 0..120)) {
        let mut counters = Counters::new();
        let mut set = BTreeSet::new();
        for counter in taken {
            prop_assert_eq!(counters.take(counter), counter == 0 || set.insert(counter));
        }
        let mut missing = Vec::new();
        let mut expected = 1;
        for used in set {
            if expected < used {
                missing.push((expected, used - 1));
            }
            expected = used + 1;
        }
        prop_assert_eq!(counters.missing().collect::<Vec<_>>(), missing);
    }

    #[test]
    fn recorded_at_never_falls(steps in prop::collection::vec(-3_000_000_i64..3_000_000, 10_000)) {
        let mut last = Micros::parse("2026-11-23T16:00:00.000000Z").unwrap();
        for step in steps {
            let now = last.checked_add(step).unwrap();
            match next_recorded_at(last, now) {
                Ok(at) => {
                    prop_assert!(step >= -1_000_000);
                    prop_assert_eq!(at, last.max(now));
                    last = at;
                }
                Err(error) => {
                    prop_assert!(step < -1_000_000);
                    prop_assert_eq!(error, ClockError { now, last });
                }
            }
        }
    }
}
