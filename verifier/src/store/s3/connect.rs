//! From an address and settings to a connection.
//!
//! Credentials come from where S3 clients look for them: `AWS_ACCESS_KEY_ID` and its like, a web
//! identity token, the task's or the machine's metadata. `AWS_REGION` and `AWS_ENDPOINT_URL_S3`
//! stand in for settings that are not there. Files of profiles are not read.

use std::net::IpAddr;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::{BackoffConfig, ClientOptions, HeaderMap, HeaderValue, RetryConfig};
use url::{Host, Url};

use crate::store::{S3, S3Settings, SourceError};

/// The region that servers expect which have none.
const NO_REGION: &str = "us-east-1";

/// Longest time that one request may take, body and all: the largest object at a quarter of a megabyte a
/// second. That the store is silent is noticed before, see [`super::Patience`].
const REQUEST: Duration = Duration::from_secs(1_100);

/// What the connection does by itself about requests that fail.
fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(5),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_secs(60) }
}

/// Bucket and prefix of `s3://bucket/prefix`.
pub fn split(address: &str) -> Result<(&str, &str), SourceError> {
    let wrong = || SourceError::Address(address.to_owned());
    let rest = address.strip_prefix(S3).ok_or_else(wrong)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bucket.is_empty() || bucket.contains("..") || !bucket.chars().all(is_name) {
        return Err(wrong());
    }
    Ok((bucket, prefix.strip_suffix('/').unwrap_or(prefix)))
}

fn wrong(endpoint: &str, reason: &str) -> SourceError {
    SourceError::Settings(format!("the endpoint `{endpoint}`: {reason}"))
}

/// An endpoint's URL, checked.
fn endpoint(text: &str, settings: &S3Settings) -> Result<Url, SourceError> {
    let form = "a URL like https://s3.example.com is expected, without bucket or login";
    // A password must not come out again in a message.
    let url = Url::parse(text).ok().filter(|url| url.username().is_empty());
    let url = url.ok_or_else(|| SourceError::Settings(format!("the endpoint: {form}")))?;
    let is_plain = url.password().is_none() && url.path() == "/" && url.query().is_none();
    if !is_plain || url.fragment().is_some() || !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(text, form));
    }
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => return Err(wrong(text, form)),
    };
    if url.scheme() == "http" && !is_loopback && settings.allow_http != Some(true) {
        let reason = "plain HTTP shows everyone on the way what it carries: use https, or allow it \
                      with allow_http (--s3-allow-http true)";
        return Err(wrong(text, reason));
    }
    Ok(url)
}

/// Connects to a bucket, with what the environment says. Nothing is asked of the store yet.
pub fn connect(bucket: &str, settings: &S3Settings) -> Result<AmazonS3, SourceError> {
    connect_with(AmazonS3Builder::from_env(), bucket, settings)
}

/// What the environment says of every request's client: proxies, for instance.
fn from_env() -> ClientOptions {
    let mut options = ClientOptions::new();
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        let key = name.strip_prefix("AWS_").map(|name| name.to_ascii_lowercase().parse());
        if let Some(Ok(key)) = key {
            options = options.with_config(key, value);
        }
    }
    options.with_timeout(REQUEST)
}

/// The same, for addresses that were checked before.
pub(super) fn any_scheme() -> ClientOptions {
    from_env().with_allow_http(true)
}

/// The same, and which checksum comes with writes, as Object Lock wants to know that too.
fn client() -> ClientOptions {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-sdk-checksum-algorithm", HeaderValue::from_static("SHA256"));
    from_env().with_default_headers(headers)
}

/// Connects to a bucket, with what a builder knows already, such as credentials.
pub fn connect_with(
    builder: AmazonS3Builder,
    bucket: &str,
    settings: &S3Settings,
) -> Result<AmazonS3, SourceError> {
    let from_env = |key| builder.get_config_value(&key);
    let url = settings
        .endpoint
        .clone()
        .or_else(|| from_env(AmazonS3ConfigKey::S3Endpoint))
        .or_else(|| from_env(AmazonS3ConfigKey::Endpoint))
        .map(|text| endpoint(&text, settings))
        .transpose()?;
    let region = settings.region.clone().or_else(|| from_env(AmazonS3ConfigKey::Region));
    let region = match (region, &url) {
        (Some(region), _) => region,
        (None, Some(_)) => NO_REGION.to_owned(),
        (None, None) => {
            let reason = "no region is set: set the bucket's (--s3-region), or an endpoint";
            return Err(SourceError::Settings(reason.to_owned()));
        }
    };
    // A certificate for *.s3.amazonaws.com does not cover a bucket whose name has dots.
    let path_style = settings.path_style.unwrap_or(url.is_some() || bucket.contains('.'));
    let is_http = url.as_ref().is_some_and(|url| url.scheme() == "http");
    let mut builder = builder
        .with_bucket_name(bucket)
        .with_region(region)
        .with_virtual_hosted_style_request(!path_style)
        .with_client_options(client())
        .with_allow_http(is_http)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // A bucket with Object Lock takes no object without; every other one checks it.
        .with_checksum_algorithm(Checksum::SHA256)
        .with_unsigned_payload(false)
        .with_retry(retry());
    if let Some(url) = url {
        let text = host_for(&url, bucket, path_style)?;
        builder =
            builder.with_config(AmazonS3ConfigKey::S3Endpoint, text.as_str()).with_endpoint(text);
    }
    builder.build().map_err(|error| SourceError::Settings(error.to_string()))
}

/// The endpoint as object_store wants it: with the bucket in the host name, where it stands there.
fn host_for(url: &Url, bucket: &str, path_style: bool) -> Result<String, SourceError> {
    let mut url = url.clone();
    if !path_style {
        let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
        let reason = "the bucket cannot stand before this host name: set path_style";
        let is_name = matches!(url.host(), Some(Host::Domain(_)));
        if !is_name || url.set_host(Some(&host)).is_err() {
            return Err(wrong(url.as_str(), reason));
        }
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: &str) -> S3Settings {
        S3Settings { endpoint: Some(endpoint.to_owned()), ..S3Settings::default() }
    }

    #[test]
    fn an_address_is_a_bucket_and_a_prefix() {
        for (address, parts) in [
            ("s3://tally", ("tally", "")),
            ("s3://tally/", ("tally", "")),
            ("s3://tally/a/b", ("tally", "a/b")),
            ("s3://tally/a/b/", ("tally", "a/b")),
        ] {
            assert_eq!(split(address).ok(), Some(parts), "{address}");
        }
        for address in ["s3://", "s3:///a", "s3://../a", "s3://a b/c", "s3://a@b/c", "http://a/b"] {
            assert!(matches!(split(address), Err(SourceError::Address(_))), "{address}");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine_unless_it_is_allowed() {
        for text in ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost", "https://s3"]
        {
            assert!(endpoint(text, &settings(text)).is_ok(), "{text}");
        }
        let remote = "http://s3.example.com";
        let refused = endpoint(remote, &settings(remote)).unwrap_err_or_text();
        assert!(refused.contains("--s3-allow-http"), "{refused}");
        let allowed = S3Settings { allow_http: Some(true), ..settings(remote) };
        assert!(endpoint(remote, &allowed).is_ok());
    }

    #[test]
    fn an_endpoint_is_a_host_and_no_more() {
        for text in ["s3.example.com", "ftp://s3", "https://s3/x", "https://s3?x", "https://s3#x"] {
            assert!(
                matches!(endpoint(text, &settings(text)), Err(SourceError::Settings(_))),
                "{text}"
            );
        }
        let secret = "https://user:geheim@s3.example.com";
        let refused = endpoint(secret, &settings(secret)).unwrap_err_or_text();
        assert!(!refused.contains("geheim"), "{refused}");
    }

    #[test]
    fn the_bucket_stands_in_the_path_or_in_the_host() {
        let host =
            |text: &str, path_style| host_for(&Url::parse(text).ok()?, "tally", path_style).ok();
        let with_bucket = Some("https://tally.s3.example.com".to_owned());
        assert_eq!(host("https://s3.example.com/", false), with_bucket);
        assert_eq!(host("http://127.0.0.1:9000", true), Some("http://127.0.0.1:9000".to_owned()));
        assert_eq!(host("http://127.0.0.1:9000", false), None);
    }

    /// The message of what must not be `Ok`.
    trait Refused {
        fn unwrap_err_or_text(self) -> String;
    }

    impl<T> Refused for Result<T, SourceError> {
        fn unwrap_err_or_text(self) -> String {
            self.err().map_or_else(|| "it was taken".to_owned(), |error| error.to_string())
        }
    }
}
