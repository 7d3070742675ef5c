//! http, for people who type no scheme: each request is sent on to https (RFC 9110 section 15.4.9), for hosts that we
//! have and for no others.

use std::convert::Infallible;
use std::net::TcpListener as StdTcpListener;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::addresses::Addresses;
use super::client::Client;
use super::front::Serving;
use super::text::text;
use super::tls::Challenges;
use crate::gateway::target::path_and_query;
use crate::message::authority;

/// Connections at once; who comes then waits in the kernel.
const CONNECTIONS: usize = 2_048;
/// Connections of one client at once; further ones are closed.
const OF_ONE_CLIENT: u32 = 16;
/// A head is here in so long.
const HEAD: Duration = Duration::from_secs(3);
/// A connection is over after so long, whatever is on it.
const LONGEST: Duration = Duration::from_secs(60);

/// What is known of https.
#[derive(Debug)]
pub struct Redirect {
    /// Which hosts there are now.
    pub serving: watch::Receiver<Arc<Serving>>,
    /// What an authority that issues a certificate asks for.
    pub challenges: Arc<Challenges>,
}

/// Serves until dropped.
pub async fn serve(listener: StdTcpListener, redirect: Arc<Redirect>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "http is not sent on to https"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let addresses = Arc::new(Addresses::new(OF_ONE_CLIENT));
    loop {
        let place = places.clone().acquire_owned().await;
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        // A proxy in front brings everybody's.
        let is_proxy = redirect.serving.borrow().generation.site.trusts(peer.ip());
        let held = addresses.take(Client::of(peer.ip()));
        if held.is_none() && !is_proxy {
            continue;
        }
        let redirect = redirect.clone();
        tokio::spawn(async move {
            let _ = timeout(LONGEST, one(stream, &redirect)).await;
            drop((place, held));
        });
    }
}

async fn one(stream: TcpStream, redirect: &Redirect) {
    let service = service_fn(async |request| Ok::<_, Infallible>(redirect.answer(&request)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(16 * 1_024).keep_alive(false);
    // Whoever breaks off has their reasons.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

impl Redirect {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if let Some(answer) = self.challenges.answer(request.uri().path()) {
            return text(StatusCode::OK, answer);
        }
        let Some(host) = self.host(request) else {
            return text(StatusCode::MISDIRECTED_REQUEST, "there is nothing of this name here\n");
        };
        let location = format!("https://{host}{}", path_and_query(request));
        let Ok(location) = HeaderValue::try_from(location) else {
            return text(StatusCode::BAD_REQUEST, "this address cannot be sent on\n");
        };
        let mut response = text(StatusCode::PERMANENT_REDIRECT, "this is at https\n");
        response.headers_mut().insert(LOCATION, location);
        response
    }

    /// The host that is asked for, if there is one here, as it is written for https.
    fn host(&self, request: &Request<Incoming>) -> Option<String> {
        let written = authority::authority(request.uri(), request.headers()).ok()?;
        let host = authority::host(written.text).ok()?;
        let serving = self.serving.borrow();
        serving.generation.site.policy.host(&host)?;
        // A port of its own is this host's alone.
        let is_public = *host == *serving.public_url.host;
        Some(if is_public { serving.public_url.authority() } else { host.to_string() })
    }
}
