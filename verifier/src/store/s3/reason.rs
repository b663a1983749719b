//! What an error of an object store means, and how it is told.

use std::error::Error as _;

use object_store::Error;

/// Longest text of a store's that a message repeats, in characters.
const TEXT_MAX: usize = 400;

/// What a connection to another region than the bucket's comes to.
const REDIRECT: &str = "incorrectly configured region";

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// There is no object of this key.
    Absent,
    /// There is no such bucket.
    NoBucket,
    /// The store does not let us: by rights, by a lock, or because it cannot.
    Refused,
    /// The store answers that it has no such request.
    Unknown,
    /// A condition was not met: an object is there already, or is not the one that was named.
    Condition,
    /// Two requests at once, of which the store wanted to do neither.
    Conflict,
    /// Anything else: it may pass, and it says nothing about what was done.
    Passing,
}

/// What an error means.
pub fn meaning(error: &Error) -> Meaning {
    let text = || error.to_string();
    match error {
        Error::NotFound { .. } if text().contains("NoSuchBucket") => Meaning::NoBucket,
        Error::NotFound { .. } => Meaning::Absent,
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::InvalidPath { .. }
        | Error::UnknownConfigurationKey { .. } => Meaning::Refused,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => Meaning::Unknown,
        // One error for two answers: 412, the condition, and 409, which object_store 0.13 does not
        // tell apart.
        Error::AlreadyExists { .. } if text().contains("409 Conflict") => Meaning::Conflict,
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => {
            Meaning::Condition
        }
        // Of a list of objects to delete, the store answers for each; the code is in the text only.
        _ => {
            let text = text();
            let has = |codes: &[&str]| codes.iter().any(|code| text.contains(code));
            if has(&["(code: AccessDenied)", "(code: ObjectLocked)", "WORM protected", REDIRECT]) {
                Meaning::Refused
            } else if has(&["501 Not Implemented", "405 Method Not Allowed"]) {
                Meaning::Unknown
            } else if has(&["NoSuchBucket"]) {
                Meaning::NoBucket
            } else {
                Meaning::Passing
            }
        }
    }
}

/// An error for whoever must mend it. What the store says is cut short, and holds no control
/// characters: it may be anyone's text.
pub fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut deepest = error.source();
    while let Some(next) = deepest.and_then(std::error::Error::source) {
        deepest = Some(next);
    }
    // The first cause, such as a refused connection, is left out by what wraps it.
    if let Some(deepest) =
        deepest.map(ToString::to_string).filter(|deepest| !text.contains(deepest))
    {
        text = format!("{text}: {deepest}");
    }
    if let Some((before, body)) = text.split_once('<') {
        let part = |open, close| Some(body.split_once(open)?.1.split_once(close)?.0);
        if let Some(code) = part("Code>", "</Code>") {
            let message = part("<Message>", "</Message>").unwrap_or_default();
            text = format!("{before}{code}: {message}");
        }
    }
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut told: String = plain.take(TEXT_MAX).collect();
    if let Some(hint) = hint(error, &text) {
        told.push_str(hint);
    }
    told
}

/// How to mend it, where that is known.
fn hint(error: &Error, text: &str) -> Option<&'static str> {
    let is_refused =
        matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
    if text.contains("169.254.") {
        Some(
            " (no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
             AWS_SKIP_SIGNATURE=true for a bucket that anyone may read)",
        )
    } else if text.contains(REDIRECT) {
        Some(" (set the bucket's region: --s3-region)")
    } else if is_refused {
        Some(
            " (compare the credentials, and what they may do in this bucket: \
             docs/operating/s3.md)",
        )
    } else {
        None
    }
}
