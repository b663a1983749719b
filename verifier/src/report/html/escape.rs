//! Text of a hostile archive does not get to be markup, nor to turn the direction of what is read.

use std::fmt::Write as _;

use crate::report::text::turns;

/// Text as it may stand in an element or in a quoted attribute.
pub(super) fn e(text: impl ToString) -> String {
    let text = text.to_string();
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() || turns(c) => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// Escaped text in which code spans and line ends of our own pages (Markdown) are shown as such.
pub(super) fn prose(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (at, part) in text.split('`').enumerate() {
        // Writing to a String cannot fail.
        let _ = match at % 2 {
            0 => write!(safe, "{}", e(part.replace('\n', " "))),
            _ => write!(safe, "<code>{}</code>", e(part.replace('\n', " "))),
        };
    }
    safe
}
