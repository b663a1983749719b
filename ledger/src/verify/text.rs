//! Values of the ledger in what an auditor keeps: each as its text, read back by its own rules.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::chain::Role;
use crate::hash::Digest;
use crate::key::PublicKey;
use crate::names::{EventId, Workspace};
use crate::time::{Day, Hour, Micros};

/// A value that is written as its text.
pub(super) struct Text<T>(pub(super) T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: Read> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::read(&text).map(Text).ok_or_else(|| de::Error::custom(format!("`{text}` is not one")))
    }
}

/// What can be read from its text.
pub(super) trait Read: Sized {
    fn read(text: &str) -> Option<Self>;
}

macro_rules! read {
    ($($type:ty: $read:expr;)*) => {$(
        impl Read for $type {
            fn read(text: &str) -> Option<Self> {
                $read(text)
            }
        }
    )*};
}

read! {
    Digest: |text| Digest::parse(text).ok();
    Workspace: |text| Workspace::new(text).ok();
    PublicKey: |text| PublicKey::parse(text).ok();
    EventId: |text| EventId::parse(text).ok();
    Micros: |text| Micros::parse(text).ok();
    Role: Role::parse;
    Hour: |text| Hour::parse(text).ok();
    Day: |text| Day::parse(text).ok();
}
