//! The application that `vestibule demo` protects: an internal wiki from 2009 that knows no accounts.
//!
//! It shows the visitor what it was told about them, so that the gateway's work can be seen. It believes
//! every field it receives, as such tools do; everything it repeats is escaped.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Bytes;
use hyper::body::{Frame, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;

use super::wire::{self, Body, HangUp};

mod pages;
mod socket;

/// Serves the sample application on `listener` until the future is dropped.
pub async fn serve(listener: TcpListener) {
    wire::serve(listener, answer).await;
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, HangUp> {
    if request.uri().path() == "/socket" {
        return Ok(socket::accept(&mut request).unwrap_or_else(socket::refuse));
    }
    let (parts, body) = request.into_parts();
    let reading = parts.method == Method::GET || parts.method == Method::HEAD;
    Ok(match (parts.uri.path(), reading) {
        ("/remarks", false) if parts.method == Method::POST => remark(&parts, body).await,
        ("/events", true) => events(),
        (path, true) => page(path, &parts),
        (_, false) => not_allowed(&parts),
    })
}

fn page(path: &str, parts: &Parts) -> Response<Body> {
    let user = user(&parts.headers);
    let found = match path {
        "/" => pages::front(user),
        "/phone-list" => pages::phone_list(user),
        "/backups" => pages::backups(user),
        "/remarks" => pages::remarks(user),
        "/clock" => pages::clock(user),
        "/request" => pages::request(user, &request_line(parts), &fields(&parts.headers)),
        _ => return html(StatusCode::NOT_FOUND, pages::not_found(user, path)),
    };
    html(StatusCode::OK, found)
}

async fn remark(parts: &Parts, body: Incoming) -> Response<Body> {
    let user = user(&parts.headers);
    match wire::read(body).await {
        Some(body) => {
            html(StatusCode::OK, pages::remark(user, &form_urlencoded::parse(&body).collect::<Vec<_>>()))
        }
        None => html(StatusCode::PAYLOAD_TOO_LARGE, pages::too_long(user)),
    }
}

fn not_allowed(parts: &Parts) -> Response<Body> {
    let mut response = html(StatusCode::METHOD_NOT_ALLOWED, pages::not_allowed(user(&parts.headers)));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// Server-sent events: one at once, then one a second for as long as anyone listens.
fn events() -> Response<Body> {
    let ticks = stream::unfold(0_u64, |count| async move {
        if count > 0 {
            tokio::time::sleep(TICK).await;
        }
        let event = format!("id: {count}\nevent: tick\ndata: {}\n\n", wire::timestamp(wire::now()));
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(event))), count + 1))
    });
    let mut response = Response::new(StreamBody::new(ticks).boxed_unsync());
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn html(status: StatusCode, page: String) -> Response<Body> {
    let mut response = Response::new(wire::full(page));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

fn user(headers: &HeaderMap) -> Option<&str> {
    std::str::from_utf8(headers.get("x-forwarded-user")?.as_bytes()).ok()
}

fn request_line(parts: &Parts) -> String {
    format!("{} {} {:?}", parts.method, parts.uri, parts.version)
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), shown(value))).collect()
}

const TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
