//! What brings spans to the collector: the SDK's queue and thread, the exporter, and our HTTP client below it. Beside
//! them it is counted what is lost, which the SDK keeps to itself.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hyper::body::Bytes;
use opentelemetry::Context;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;

use super::TracesError;
use crate::config;

/// So many spans wait to be sent.
const WAITING: usize = 4_096;
/// So many are sent at once, and at the latest after so long.
const AT_ONCE: usize = 512;
const EVERY: Duration = Duration::from_secs(2);
/// A collector answers within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// What it answers is a few bytes.
const LONGEST_ANSWER: usize = 64 * 1_024;

/// How many spans wait, and how many were lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    lost: AtomicU64,
    /// Whether the log was told that they are lost.
    told: AtomicBool,
}

impl Losses {
    pub(super) fn all(&self) -> u64 {
        self.0.lost.load(Relaxed)
    }

    fn lose(&self, spans: usize, why: &dyn fmt::Display) {
        self.0.lost.fetch_add(u64::try_from(spans).unwrap_or(u64::MAX), Relaxed);
        if !self.0.told.swap(true, Relaxed) {
            tracing::warn!(%why, "traces are lost; vestibule_traces_lost_spans_total counts them");
        }
    }
}

pub(super) fn open(settings: &config::Traces, office: &Handle) -> Result<(Queue, Losses), TracesError> {
    let http = reqwest::Client::builder()
        .timeout(ANSWER_WITHIN)
        // What is ours goes to the configured address only.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("vestibule/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let secret = settings.authorization.iter();
    let headers: HashMap<String, String> =
        secret.map(|secret| ("authorization".to_owned(), secret.expose_secret().to_owned())).collect();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Client { http, office: office.clone() })
        .with_endpoint(settings.endpoint.as_str())
        .with_timeout(ANSWER_WITHIN)
        .with_headers(headers)
        .build()
        .map_err(|error| TracesError::Endpoint(error.to_string()))?;
    let losses = Losses::default();
    let exporter = Exporter { exporter, losses: losses.clone() };
    // Its own bound is never reached: ours counts.
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(2 * WAITING)
        .with_max_export_batch_size(AT_ONCE)
        .with_scheduled_delay(EVERY)
        .build();
    let queue = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    Ok((Queue { queue, losses: losses.clone() }, losses))
}

/// The SDK's queue, bounded where it is counted.
#[derive(Debug)]
pub(super) struct Queue {
    queue: BatchSpanProcessor,
    losses: Losses,
}

impl SpanProcessor for Queue {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.losses.0.waiting.fetch_add(1, Relaxed) >= WAITING {
            self.losses.0.waiting.fetch_sub(1, Relaxed);
            return self.losses.lose(1, &"too many wait");
        }
        self.queue.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

/// The exporter, and how many spans it could not bring.
#[derive(Debug)]
struct Exporter {
    exporter: opentelemetry_otlp::SpanExporter,
    losses: Losses,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        self.losses.0.waiting.fetch_sub(spans, Relaxed);
        match &exported {
            Ok(()) => self.losses.0.told.store(false, Relaxed),
            // The SDK's own words may have the address, which may hold what only the two of us know.
            Err(_) => self.losses.lose(spans, &"the collector does not take them"),
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Our HTTP client. The SDK's thread has no runtime: what it sends is sent by the back office.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    office: Handle,
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<hyper::Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Client {
    fn send_bytes<'s, 'a>(&'s self, request: hyper::Request<Bytes>) -> Sent<'a>
    where
        's: 'a,
        Self: 'a,
    {
        let sending = self.office.spawn(send(self.http.clone(), request));
        Box::pin(async move { sending.await? })
    }
}

async fn send(
    http: reqwest::Client,
    request: hyper::Request<Bytes>,
) -> Result<hyper::Response<Bytes>, HttpError> {
    let mut answer = http.execute(request.try_into()?).await?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err("the collector's answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    let mut whole = hyper::Response::new(Bytes::from(body));
    *whole.status_mut() = status;
    Ok(whole)
}
