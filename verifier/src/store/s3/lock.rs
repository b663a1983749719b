//! What the store says of the lock on an object.
//!
//! It is in the headers of an answer, which `object_store` keeps to itself: so this asks by a URL that is
//! signed by the same connection.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request};
use object_store::aws::AmazonS3;
use object_store::client::{HttpClient, HttpConnector as _, HttpRequestBody, ReqwestConnector};
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{ClientOptions, Error, Result};

use crate::store::Lock;

/// How long such a URL is good for.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// Asks about locks.
#[derive(Clone, Debug)]
pub(super) struct LockClient {
    store: Arc<AmazonS3>,
    client: HttpClient,
}

impl LockClient {
    /// Over a connection, with a client of its own.
    pub(super) fn new(store: Arc<AmazonS3>, options: &ClientOptions) -> Result<Self> {
        Ok(Self { store, client: ReqwestConnector::default().connect(options)? })
    }

    /// The lock on an object; unknown where the store does not answer that.
    pub(super) async fn lock(self, path: Path) -> Result<Lock> {
        let url = self.store.signed_url(Method::HEAD, &path, GOOD_FOR).await?;
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::Generic {
            store: "S3",
            source: error,
        };
        let request = Request::builder().method(Method::HEAD).uri(url.as_str());
        let request =
            request.body(HttpRequestBody::empty()).map_err(|error| failed(error.into()))?;
        let answer = self.client.execute(request).await.map_err(|error| failed(error.into()))?;
        Ok(if answer.status().is_success() { read(answer.headers()) } else { Lock::Unknown })
    }
}

fn read(headers: &HeaderMap) -> Lock {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let mode = header("x-amz-object-lock-mode");
    let until = header("x-amz-object-lock-retain-until-date");
    let (Some(mode), Some(until)) = (mode, until) else {
        return Lock::Open;
    };
    // It comes into reports: what is no time is not repeated.
    let is_time = |c: char| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | '+' | 'T' | 'Z');
    if until.is_empty() || until.len() > 40 || !until.chars().all(is_time) {
        return Lock::Unknown;
    }
    match mode {
        "COMPLIANCE" => Lock::Until { for_everybody: true, until: until.to_owned() },
        "GOVERNANCE" => Lock::Until { for_everybody: false, until: until.to_owned() },
        _ => Lock::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(mode: &'static str, until: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-object-lock-mode", HeaderValue::from_static(mode));
        headers.insert("x-amz-object-lock-retain-until-date", HeaderValue::from_static(until));
        headers
    }

    #[test]
    fn a_lock_is_what_two_headers_say() {
        assert_eq!(read(&HeaderMap::new()), Lock::Open);
        let until = "2027-05-29T00:00:00.000Z";
        for (mode, word) in
            [("COMPLIANCE", "compliance"), ("GOVERNANCE", "governance"), ("x", "unknown")]
        {
            assert_eq!(read(&headers(mode, until)).as_str(), word);
        }
        assert_eq!(read(&headers("COMPLIANCE", until)).until(), Some(until));
        for until in ["", "for ever", "<b>2027</b>"] {
            assert_eq!(read(&headers("COMPLIANCE", until)), Lock::Unknown, "{until}");
        }
    }
}
