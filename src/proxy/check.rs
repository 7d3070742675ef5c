//! Health checks: asking upstreams how they are before anybody else has to find out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::Why;
use super::application::{Application, Applications};
use super::connection::{Need, Opened, To, open};
use super::failures::Kind;
use super::http2::to_http2;
use super::upload::Upload;
use crate::config::HealthCheck;

impl Applications {
    /// Checks upstreams for as long as it is polled, in a `LocalSet`.
    pub async fn check(&self) {
        let mut checks = JoinSet::new();
        for application in self.0.iter() {
            let Some(check) = &application.route.upstreams.health else { continue };
            for place in 0..application.route.upstreams.list.len() {
                checks.spawn_local(watch(application.clone(), place, check.clone()));
            }
        }
        while checks.join_next().await.is_some() {}
    }
}

/// How one upstream took being asked once.
#[derive(Clone, Debug)]
pub struct Look {
    /// Host and path of its route.
    pub route: String,
    /// The upstream as the configuration has it.
    pub upstream: String,
    /// What was wrong, in words.
    pub answer: Result<(), String>,
}

impl Applications {
    /// Asks every upstream once, all at once, in a `LocalSet`: for a connection with its TLS, and for the path of its
    /// health check where it has one.
    pub async fn look_once(&self, most: Duration) -> Vec<Look> {
        let places = self.0.iter().flat_map(|application| {
            (0..application.route.upstreams.list.len()).map(move |place| (application, place))
        });
        let looks = places.map(async |(application, place)| {
            let answer = timeout(most, look(application, place)).await;
            Look {
                route: application.name().to_string(),
                upstream: application.route.upstreams.list[place].to_string(),
                answer: answer.unwrap_or_else(|_| Err("no answer in time".to_owned())),
            }
        });
        join_all(looks).await
    }
}

async fn look(application: &Application, place: usize) -> Result<(), String> {
    if let Some(check) = &application.route.upstreams.health {
        return ask(application, place, check).await;
    }
    let upstream = &application.route.upstreams.list[place];
    let to = To { client: None, place: None };
    match open(application, upstream, Need::Any, to).await.map_err(|error| error.to_string())? {
        Opened::Own(own) => own.close(),
        Opened::Link(_) => {}
    }
    Ok(())
}

async fn watch(application: Arc<Application>, place: usize, check: HealthCheck) {
    let mut ticks = interval(check.interval);
    loop {
        ticks.tick().await;
        let asked = timeout(check.timeout, ask(&application, place, &check)).await;
        let asked = asked.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let change = application.health[place].note_check(asked.is_ok());
        if asked.is_err() {
            application.failures[place].note(Kind::Check);
        }
        application.tell(place, change, asked.as_ref().err());
    }
}

/// Asks an upstream how it is, on a connection of its own.
async fn ask(application: &Application, place: usize, check: &HealthCheck) -> Result<(), String> {
    let upstream = &application.route.upstreams.list[place];
    let opened = open(application, upstream, Need::Any, To { client: None, place: None })
        .await
        .map_err(|error| error.to_string())?;
    let mut request = Request::new(Upload::NONE);
    *request.uri_mut() = check.path.clone();
    let host = match &application.route.host_header {
        Some(host) => host.clone(),
        None => HeaderValue::try_from(&application.route.host).map_err(|error| error.to_string())?,
    };
    request.headers_mut().insert(header::HOST, host);
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("vestibule"));
    let answer = match opened {
        Opened::Own(mut own) => {
            let answer = own.sender.send_request(request).await;
            own.close();
            answer
        }
        Opened::Link(link) => {
            let stream = link.stream();
            to_http2(&mut request, stream.scheme());
            stream.sender().send_request(request).await
        }
    };
    well(&answer.map_err(|error| Why(&error).to_string())?)
}

/// Success and redirection are well (RFC 9110 sections 15.3 and 15.4). The body is of no interest.
fn well(answer: &Response<Incoming>) -> Result<(), String> {
    let status = answer.status();
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(format!("it answered {status}")) }
}
