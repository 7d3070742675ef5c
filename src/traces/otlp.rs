//! One SERVER span for each request, and a CLIENT span below it for what is sent on (OpenTelemetry's conventions for
//! HTTP). The SDK's thread sends them in the background; nobody waits for it, and what it cannot take is counted.

mod sender;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Request, Version};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span};
use tokio::runtime::Handle;

use super::{LAST_FLUSH, TRACEPARENT, TRACESTATE, Told, TracesError};
use crate::config;
use sender::Losses;

/// Where traces go, if they go anywhere.
#[derive(Clone, Debug)]
pub struct Traces(Option<Arc<Sending>>);

#[derive(Debug)]
struct Sending {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    losses: Losses,
}

/// One request's part of a trace.
pub struct Trace {
    tracer: SdkTracer,
    server: RefCell<Span>,
    client: RefCell<Option<Span>>,
    method: &'static str,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}

impl Traces {
    /// Sends to whom these settings name, on this runtime. Connects to nobody yet.
    pub fn open(settings: Option<&config::Traces>, office: &Handle) -> Result<Self, TracesError> {
        let Some(settings) = settings else { return Ok(Self(None)) };
        let (processor, losses) = sender::open(settings, office)?;
        let named = [
            KeyValue::new("service.name", "vestibule"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ];
        let provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder_empty().with_attributes(named).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample))))
            .with_span_processor(processor)
            .build();
        let tracer = provider.tracer("vestibule");
        Ok(Self(Some(Arc::new(Sending { provider, tracer, losses }))))
    }

    /// A request comes. It goes on a trace only where a proxy of ours says which; else it begins one. What others wrote
    /// about traces is taken out.
    pub fn begin<B>(&self, request: &mut Request<B>, is_trusted: impl FnOnce() -> bool) -> Option<Trace> {
        let sending = self.0.as_ref()?;
        let (method, version) = (known(request.method()), request.version());
        let parent = parent(request.headers_mut(), is_trusted());
        let builder = SpanBuilder::from_name(method).with_kind(SpanKind::Server);
        let mut server = sending.tracer.build_with_context(builder, &parent);
        if server.is_recording() {
            server.set_attribute(KeyValue::new("http.request.method", method));
            server.set_attribute(KeyValue::new("network.protocol.version", number(version)));
        }
        let (server, client) = (RefCell::new(server), RefCell::new(None));
        Some(Trace { tracer: sending.tracer.clone(), server, client, method })
    }

    /// How many spans were lost so far.
    pub fn lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |sending| sending.losses.all())
    }

    /// Sends what waits, for a moment.
    pub fn end(&self) {
        let Some(sending) = &self.0 else { return };
        if let Err(error) = sending.provider.shutdown_with_timeout(LAST_FLUSH) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

impl Trace {
    /// The request goes on to an upstream, which is told the trace.
    pub fn is_sent_on(&self, headers: &mut HeaderMap) {
        let server = self.server.borrow();
        let mut context = server.span_context().clone();
        if server.is_recording() {
            let parent = Context::new().with_remote_span_context(context);
            let mut client = self
                .tracer
                .build_with_context(SpanBuilder::from_name(self.method).with_kind(SpanKind::Client), &parent);
            client.set_attribute(KeyValue::new("http.request.method", self.method));
            context = client.span_context().clone();
            self.client.replace(Some(client));
        }
        headers.insert(TRACEPARENT, field(&context));
    }

    /// An upstream answered.
    pub fn is_answered(&self, upstream: &impl fmt::Display, status: u16) {
        let Some(mut client) = self.client.take() else { return };
        let upstream = upstream.to_string();
        let authority = upstream.split_once("://").map_or(&*upstream, |(_, rest)| rest);
        let port = |text: &str| text.parse::<u16>().ok();
        let split = authority.rsplit_once(':').and_then(|(host, text)| Some((host, port(text)?)));
        let host = split.map_or(authority, |(host, _)| host);
        client.set_attribute(KeyValue::new("server.address", host.trim_matches(['[', ']']).to_owned()));
        if let Some((_, port)) = split {
            client.set_attribute(KeyValue::new("server.port", i64::from(port)));
        }
        note_status(&mut client, status, 400);
        client.end();
    }

    /// No upstream did; why, in a word.
    pub fn is_not_answered(&self, why: &'static str) {
        let Some(mut client) = self.client.take() else { return };
        client.set_attribute(KeyValue::new("error.type", why));
        client.set_status(Status::error(""));
        client.end();
    }

    /// The answer begins.
    pub fn ends(&self, told: Told<'_>) {
        let mut server = self.server.borrow_mut();
        if !server.is_recording() {
            return;
        }
        if !told.route.is_empty() {
            server.update_name(format!("{} {}", self.method, told.route));
            server.set_attribute(KeyValue::new("http.route", told.route.to_owned()));
        }
        server.set_attribute(KeyValue::new("url.scheme", told.scheme));
        server.set_attribute(KeyValue::new("vestibule.decision", told.decision));
        note_status(&mut server, told.status, 500);
        server.end();
    }
}

/// A status from `errors` on is an error.
fn note_status(span: &mut Span, status: u16, errors: u16) {
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
    if status >= errors {
        span.set_attribute(KeyValue::new("error.type", status.to_string()));
        span.set_status(Status::error(""));
    }
}

/// The trace that a proxy of ours says a request belongs to.
fn parent(headers: &mut HeaderMap, trusted: bool) -> Context {
    let mut parent = Context::new();
    let is_one = headers.get_all(TRACEPARENT).iter().take(2).count() == 1;
    if trusted && is_one {
        parent = TraceContextPropagator::new().extract_with_context(&parent, &HeaderExtractor(headers));
    }
    if !parent.has_active_span() {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
    parent
}

/// `traceparent` (W3C Trace Context section 3.2).
fn field(context: &SpanContext) -> HeaderValue {
    let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
    HeaderValue::try_from(format!("00-{trace}-{span}-{flags:02x}"))
        .expect("hexadecimal digits are a field value")
}

/// The conventions have a name for each method, and one for all others: nobody fills the collector with their own.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

fn number(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parent_of(values: &[&str], trusted: bool) -> (Option<String>, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        let parent = parent(&mut headers, trusted);
        (parent.has_active_span().then(|| parent.span().span_context().trace_id().to_string()), headers)
    }

    #[test]
    fn only_a_proxy_of_ours_says_to_which_trace_a_request_belongs() {
        let (trace, headers) = parent_of(&[THEIRS], true);
        assert_eq!(trace.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(headers[TRACESTATE], "a=b");
        let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for (values, trusted) in
            [(&[THEIRS][..], false), (&[], true), (&["x"], true), (&[THEIRS, THEIRS], true), (&[zero], true)]
        {
            let (trace, headers) = parent_of(values, trusted);
            assert_eq!((trace, headers.len()), (None, 0), "{values:?}");
        }
    }

    #[test]
    fn a_method_of_somebodys_own_has_no_name() {
        assert_eq!(known(&Method::GET), "GET");
        assert_eq!(known(&Method::from_bytes(b"SECRET").unwrap()), "_OTHER");
    }
}
