//! How an object store is reached, as far as its address does not say it.
//!
//! Plain data, from flags, variables or a file: it says the same with and without the feature `s3`.
//! Credentials are not here: they come from the places where every S3 client looks for them.

use clap::Args;
use serde::Deserialize;

/// Settings of an object store. What is not set is found out: from `AWS_…` variables, or from the
/// other settings.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct S3Settings {
    /// Object store other than AWS: its URL without bucket [archive.s3.endpoint]
    #[arg(
        long = "s3-endpoint",
        env = "TALLY_ARCHIVE_S3_ENDPOINT",
        value_name = "URL",
        global = true
    )]
    pub endpoint: Option<String>,
    /// Region of the bucket; otherwise AWS_REGION [archive.s3.region]
    #[arg(long = "s3-region", env = "TALLY_ARCHIVE_S3_REGION", value_name = "NAME", global = true)]
    pub region: Option<String>,
    /// Whether the bucket stands in the path of URLs, not in the host name [archive.s3.path_style]
    #[arg(
        long = "s3-path-style",
        env = "TALLY_ARCHIVE_S3_PATH_STYLE",
        value_name = "BOOL",
        global = true
    )]
    pub path_style: Option<bool>,
    /// Whether an endpoint may be plain HTTP that is not this machine's [archive.s3.allow_http]
    #[arg(
        long = "s3-allow-http",
        env = "TALLY_ARCHIVE_S3_ALLOW_HTTP",
        value_name = "BOOL",
        global = true
    )]
    pub allow_http: Option<bool>,
}

impl S3Settings {
    /// These settings, and those of `other` where there is none.
    pub fn or(self, other: Self) -> Self {
        Self {
            endpoint: self.endpoint.or(other.endpoint),
            region: self.region.or(other.region),
            path_style: self.path_style.or(other.path_style),
            allow_http: self.allow_http.or(other.allow_http),
        }
    }
}
