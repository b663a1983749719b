//! Logs and traces: how the service tells what it does.
//!
//! Here: their settings, and how they are started and ended by the program; [`span`] (what a trace
//! shows of a request), `export` (spans on their way to a collector). What is told holds names,
//! seqs, hashes and errors: no payload, no token, no key material. Not here: figures (see
//! [`crate::metrics`]).

mod export;
pub mod span;

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::Deserialize;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

pub use export::ExportError;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// The settings of `[telemetry]`, as they are written.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// An address of its own for /metrics, which is then nowhere else [telemetry.metrics_listen]
    #[arg(long, env = "TALLY_TELEMETRY_METRICS_LISTEN", value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// How log lines look, text by default [telemetry.log_format]
    #[arg(long, env = "TALLY_TELEMETRY_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Where spans are sent by OTLP over HTTP, as http://127.0.0.1:4318; nowhere by default
    /// [telemetry.otlp_endpoint]
    #[arg(long, env = "TALLY_TELEMETRY_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
}

/// The settings, checked.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where `/metrics` is served alone; with all the rest where this is not set.
    pub metrics_listen: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where spans are sent.
    pub otlp_endpoint: Option<url::Url>,
}

impl TelemetrySettings {
    /// Fills in what `file` says where nothing overrides it.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        Self {
            metrics_listen: self.metrics_listen.or(file.metrics_listen),
            log_format: self.log_format.or(file.log_format),
            otlp_endpoint: self.otlp_endpoint.or(file.otlp_endpoint),
        }
    }

    /// Checks them; an error says what the endpoint should have been.
    pub fn into_config(self) -> Result<Config, &'static str> {
        let otlp_endpoint = self.otlp_endpoint.as_deref().map(endpoint).transpose()?;
        Ok(Config {
            metrics_listen: self.metrics_listen,
            log_format: self.log_format.unwrap_or_default(),
            otlp_endpoint,
        })
    }
}

/// Only `http`: a collector beside the service takes spans on, over TLS where it must.
fn endpoint(text: &str) -> Result<url::Url, &'static str> {
    const FORM: &str = "a URL as http://127.0.0.1:4318 is expected, without user and query";
    let url = url::Url::parse(text).map_err(|_| FORM)?;
    let plain = url.scheme() == "http"
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain { Ok(url) } else { Err(FORM) }
}

/// As `tally.toml` would say it.
impl fmt::Display for TelemetrySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |f: &mut fmt::Formatter<'_>, key, value: Option<String>| match value {
            Some(value) => writeln!(f, "{key} = {}", toml::Value::from(value)),
            None => writeln!(f, "# {key} is not set"),
        };
        writeln!(f, "[telemetry]")?;
        text(f, "metrics_listen", self.metrics_listen.map(|address| address.to_string()))?;
        text(f, "log_format", Some(self.log_format.unwrap_or_default().to_string()))?;
        // One that is refused may hold a password.
        let endpoint = self.otlp_endpoint.as_deref();
        let shown = endpoint.map(|text| endpoint_text(text).unwrap_or_else(|| "****".to_owned()));
        text(f, "otlp_endpoint", shown)
    }
}

fn endpoint_text(text: &str) -> Option<String> {
    endpoint(text).ok().map(|_| text.to_owned())
}

/// Logs and traces of a program, from when it starts to its end.
#[derive(Debug)]
pub struct Telemetry {
    spans: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Starts to log to stderr and, where the settings say so, to send spans. Once a program, in a
    /// Tokio runtime, which sends the spans.
    ///
    /// `RUST_LOG` says what is logged: `info` where it is not set.
    pub fn start(config: &Config, origin: &str) -> Result<Self, ExportError> {
        let spans = config.otlp_endpoint.as_ref();
        let spans = spans.map(|endpoint| export::start(endpoint, origin)).transpose()?;
        let chosen =
            EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal());
        let lines = match config.log_format {
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => {
                lines.json().flatten_event(true).with_span_list(false).with_ansi(false).boxed()
            }
        };
        // What only traces show would make lines long, and say nothing new.
        let not_traced = filter_fn(|metadata| !is_traced(metadata));
        let tracer = spans.as_ref().map(|provider| {
            tracing_opentelemetry::layer::<Registry>()
                .with_tracer(provider.tracer("tally-ingest"))
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_filter(filter_fn(is_traced))
        });
        tracing_subscriber::registry()
            .with(tracer)
            .with(lines.with_filter(not_traced).with_filter(chosen))
            .init();
        Ok(Self { spans })
    }

    /// Sends the spans that have ended, for as long as `patience` lasts. Those that are left then
    /// are lost.
    pub async fn end(self, patience: Duration) {
        let Some(spans) = self.spans else {
            return;
        };
        // It waits for a thread of its own, which needs the runtime: not on a thread of that.
        let ending = tokio::task::spawn_blocking(move || spans.shutdown_with_timeout(patience));
        if !matches!(ending.await, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be sent");
        }
    }
}

/// Whether it is a span of [`span`].
fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == span::TARGET
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_plain_http() {
        assert!(endpoint("http://127.0.0.1:4318").is_ok());
        assert!(endpoint("http://collector/otel/").is_ok());
        for text in
            ["https://collector", "collector:4318", "http://a:b@collector", "http://c?k=v", ""]
        {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refused_endpoint_is_not_printed() {
        let settings = TelemetrySettings {
            otlp_endpoint: Some("http://user:secret@collector".to_owned()),
            ..TelemetrySettings::default()
        };
        assert!(!settings.to_string().contains("secret"), "{settings}");
        assert!(settings.into_config().is_err());
    }
}
