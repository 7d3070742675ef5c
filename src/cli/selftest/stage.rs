//! An instance of the gateway under test: your configuration on a free port of this machine, with a canary for every
//! application, a simulated provider and a store of its own. Nothing of yours is touched.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HOST, SET_COOKIE};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::trick::Tokens;
use crate::app::{Gateway, Office, State};
use crate::cli::Failure;
use crate::cli::demo::Temporary;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{
    Account, Credentials, IdentifyBy, Listen, Place, Provider, Settings, Trust, Twilio, Upstream,
};
use crate::server::passed::Passed;
use crate::simulator::twilio::{Options, Simulator};
use crate::store::{NewUser, Use};

/// Everything at once, until it is dropped.
pub(super) struct Stage {
    pub(super) settings: Settings,
    pub(super) address: SocketAddr,
    pub(super) canary: Canary,
    gateway: Gateway,
    _directory: Temporary,
}

const USER: &str = "selftest";
/// Of the numbers set aside for fiction (NANP 555-01XX).
const PHONE: &str = "+14155550100";
const CODE: &str = "314159";

impl Stage {
    pub(super) fn start(settings: &Settings, runtime: &Runtime) -> Result<Self, Failure> {
        let directory = Temporary::new("selftest")?;
        let (canary, canary_address, provider) = runtime.block_on(surroundings())?;
        let settings = changed(settings, &directory, canary_address, provider);
        let state = State::open_for(&settings, Use::Serve)?;
        runtime.block_on(add_user(&state))?;
        let gateway = Gateway::start_on(Office::open()?, &settings, state, &mut Passed::from_environment())?;
        let address = gateway.addresses.first().and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| Failure::Runtime("no port was given".to_owned()))?;
        Ok(Self { settings, address, canary, gateway, _directory: directory })
    }

    pub(super) fn stop(self) {
        self.gateway.stop();
    }

    /// Tokens of somebody who signed in, of somebody who signed out again, and what a forger makes of them.
    pub(super) async fn tokens(&self, cookie: &str) -> Result<Tokens, Failure> {
        let good = self.sign_in(cookie).await?;
        let revoked = self.sign_in(cookie).await?;
        self.post("sign-out", &[("cookie", &format!("{cookie}={revoked}"))], None).await?;
        Ok(Tokens { revoked: Some(revoked), ..super::forge::tokens(Some(good)) })
    }

    async fn sign_in(&self, cookie: &str) -> Result<String, Failure> {
        let failed = |what: &str| Failure::Runtime(format!("signing in for the test failed: {what}"));
        let asked = self.post("api/otp/request", &[], Some(json!({ "phoneNumber": PHONE }))).await?;
        let asked: Value = asked.json().await.map_err(|error| failed(&error.to_string()))?;
        let id = asked["requestId"].as_str().ok_or_else(|| failed(&asked.to_string()))?;
        let proof = json!({ "requestId": id, "code": CODE });
        let verified = self.post("api/otp/verify", &[], Some(proof)).await?;
        let set = verified.headers().get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        let token =
            set.filter_map(|value| value.strip_prefix(cookie)?.strip_prefix('=')?.split(';').next()).next();
        token.map(str::to_owned).ok_or_else(|| failed("no cookie was set"))
    }

    async fn post(
        &self,
        what: &str,
        fields: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<reqwest::Response, Failure> {
        let failed = |error: reqwest::Error| Failure::Runtime(error.to_string());
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().map_err(failed)?;
        let url = format!("http://{}/.vestibule/{what}", self.address);
        let ours = &self.settings.server.public_url;
        let origin = format!("{}://{}", ours.scheme(), ours.authority());
        let mut request = http.post(url).header(HOST, ours.authority()).header("origin", origin);
        request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request = match body {
            Some(body) => request.json(&body),
            None => request.form(&[("", "")]),
        };
        request.send().await.map_err(failed)
    }
}

async fn surroundings() -> Result<(Canary, SocketAddr, SocketAddr), Failure> {
    let failed = |error: std::io::Error| Failure::Runtime(format!("no free port: {error}"));
    let bind = || TcpListener::bind("127.0.0.1:0");
    let (canary_listener, provider_listener) = (bind().await.map_err(failed)?, bind().await.map_err(failed)?);
    let address = canary_listener.local_addr().map_err(failed)?;
    let provider = provider_listener.local_addr().map_err(failed)?;
    let canary = Canary::default();
    tokio::spawn(canary.clone().serve(canary_listener));
    let options = Options { fixed_code: Some(CODE.to_owned()), ..Options::default() };
    tokio::spawn(Simulator::new(options).serve(provider_listener, |_| {}));
    Ok((canary, address, provider))
}

/// The same rules, in front of others.
fn changed(settings: &Settings, directory: &Temporary, canary: SocketAddr, provider: SocketAddr) -> Settings {
    let mut settings = settings.clone();
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = &mut settings.server;
    server.listen = vec![Listen::Tcp(free)];
    server.redirect_listen = Vec::new();
    server.tls = None;
    server.workers = 1;
    server.proxy_protocol = false;
    server.state_directory = directory.0.clone();
    // The test plays a stranger, and comes from this machine.
    server.trusted_proxies.retain(|net| !net.contains(&free.ip()));
    if let Some(forward) = &mut settings.forward_auth {
        forward.peers.retain(|net| !net.contains(&free.ip()));
    }
    settings.store.place = Place::Sqlite(directory.0.join("vestibule.db"));
    settings.store.master_key = Ok(None);
    (settings.observe.listen, settings.observe.explicit) = (free, false);
    settings.lookup = None;
    // Nobody is told of what is played here, and nothing of it is written down.
    settings.audit.webhook = None;
    settings.traces = None;
    (settings.log.access, settings.log.access_file) = (None, None);
    settings.challenge.identify_by = IdentifyBy::Phone;
    settings.challenge.allowed_regions = Vec::new();
    settings.providers = vec![simulated(provider)];
    for route in &mut settings.routes {
        let upstreams = &mut route.upstreams;
        upstreams.list = vec![Upstream::Http(canary.to_string())];
        upstreams.trust = Trust::default();
        (upstreams.health, upstreams.proxy_protocol, upstreams.pin_connections) = (None, None, false);
    }
    settings
}

fn simulated(address: SocketAddr) -> Provider {
    let credentials = Credentials { user: format!("AC{}", "0".repeat(32)), secret: "selftest".into() };
    let twilio = Twilio {
        base_url: format!("http://{address}"),
        service_sid: format!("VA{}", "0".repeat(32)),
        credentials,
        timeout: Duration::from_secs(10),
    };
    Provider { name: "selftest".to_owned(), account: Account::Twilio(twilio) }
}

async fn add_user(state: &State) -> Result<(), Failure> {
    let name = USER.parse().map_err(|error| Failure::Runtime(format!("{error}")))?;
    let phone_number = PHONE.parse().map_err(|error| Failure::Runtime(format!("{error}")))?;
    let added = state.store.add_users(vec![NewUser { name, phone_number }], SystemClock.now()).await?;
    added.map_err(|conflict| Failure::Runtime(conflict.to_string()))
}

/// An application that keeps every request it gets, and reads bodies as strictly as any.
#[derive(Clone, Debug, Default)]
pub(super) struct Canary(Arc<Mutex<Vec<String>>>);

impl Canary {
    /// What reached it since this was asked last.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().connection(stream));
        }
    }

    async fn connection(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        loop {
            let Some(end) = find(&buffer, b"\r\n\r\n") else {
                if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                    return;
                }
                continue;
            };
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            // Noted before its body comes: that the request is here is what counts.
            self.note(head.clone());
            let Some(rest) = body(&head, &mut buffer, &mut stream).await else { return };
            if !rest.is_empty() {
                self.note(format!("{head}\r\n{rest}"));
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ncanary";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }

    fn note(&self, request: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }
}

/// Reads the body away; the trailers behind it.
async fn body(head: &str, buffer: &mut Vec<u8>, stream: &mut TcpStream) -> Option<String> {
    let head = head.to_ascii_lowercase();
    if head.contains("transfer-encoding:") {
        let ends = |buffer: &[u8]| buffer.starts_with(b"0\r\n") || find(buffer, b"\r\n0\r\n").is_some();
        while !(ends(buffer) && buffer.ends_with(b"\r\n\r\n")) {
            if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
        return Some(String::from_utf8_lossy(&std::mem::take(buffer)).into_owned());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let length: usize = length.unwrap_or(0);
    while buffer.len() < length {
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    buffer.drain(..length);
    Some(String::new())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}
