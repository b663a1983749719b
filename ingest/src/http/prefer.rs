//! How long a client would rather wait than be told to come again: `Prefer: wait=N` (RFC 7240).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The longest wait that is taken up, in seconds: what waits longer asks again.
pub(super) const MOST: u64 = 25;

/// The wait that the client prefers, within bounds; none where it says nothing that can be read, as a
/// preference may always be passed over.
pub(super) fn wait(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next()?.trim().split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse::<u64>().ok());
    Duration::from_secs(seconds.unwrap_or(0).min(MOST))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_wait_is_read_wherever_it_stands() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, HeaderValue::from_static(value));
            wait(&headers).as_secs()
        };
        assert_eq!(of("wait=10"), 10);
        assert_eq!(of("respond-async, Wait = \"7\"; foo=bar"), 7);
        assert_eq!(of("wait=9999"), MOST);
        assert_eq!((of("wait=-1"), of("wait"), of("return=minimal")), (0, 0, 0));
        assert_eq!(wait(&HeaderMap::new()), Duration::ZERO);
    }
}
