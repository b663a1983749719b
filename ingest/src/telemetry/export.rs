//! Spans on their way to a collector: OTLP over HTTP.
//!
//! Here: bounds. Spans wait in a queue; where it is full, they are dropped, and no request waits. A
//! collector that is gone costs a line in the log. Not here: which spans there are (see
//! [`super::span`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter,
};
use tokio::runtime::Handle;
use url::Url;

/// Spans that may wait to be sent.
const QUEUE: usize = 4_096;
/// Spans that are sent at once.
const BATCH: usize = 512;
/// How long the first of them waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// How long a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("`telemetry.otlp_endpoint`: {0}")]
pub struct ExportError(#[from] opentelemetry_otlp::ExporterBuildError);

/// Starts to send spans to `endpoint`, by the Tokio runtime that this is called in.
pub(super) fn start(endpoint: &Url, origin: &str) -> Result<SdkTracerProvider, ExportError> {
    let base = endpoint.as_str().trim_end_matches('/');
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{base}/v1/traces"))
        .with_timeout(PATIENCE)
        .build()?;
    let exporter = OnRuntime {
        exporter: Arc::new(exporter),
        runtime: Handle::current(),
        is_failing: AtomicBool::new(false),
    };
    let bounds = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let resource = Resource::builder()
        .with_service_name("tally-ingest")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("tally.origin", origin.to_owned()))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(
            BatchSpanProcessor::builder(exporter).with_batch_config(bounds).build(),
        )
        .build())
}

/// Sends on a Tokio runtime: the thread that calls it has none, and the HTTP client needs one.
#[derive(Debug)]
struct OnRuntime {
    exporter: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    is_failing: AtomicBool,
}

impl SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (exporter, spans) = (Arc::clone(&self.exporter), batch.len());
        let sent = self.runtime.spawn(async move { exporter.export(batch).await }).await;
        let sent = sent.unwrap_or_else(|error| {
            Err(OTelSdkError::InternalFailure(format!("the runtime has ended: {error}")))
        });
        // Once an outage: a line for every batch would tell nothing more.
        match &sent {
            Ok(()) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("spans are sent again");
                }
            }
            Err(error) => {
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, spans, "spans could not be sent and are lost");
                }
            }
        }
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Nobody else has it yet: the processor says this before it exports.
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}
