//! `vestibule check --online`: whether all that the gateway stands on is there. Nothing is sent to any phone, and
//! nothing is changed.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::header::DATE;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::{certificate, hosts};
use crate::app;
use crate::audit::webhook::knock;
use crate::cli::Failure;
use crate::cli::finding::{Finding, Level};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Account, Listen, Place, Settings};
use crate::crypto;
use crate::domain::id::ChallengeId;
use crate::proxy::Applications;
use crate::store::Use;
use crate::verifier::{Trouble, Verifier, VerifierError};

/// For one check of them all, which run together.
const PATIENCE: Duration = Duration::from_secs(10);
/// A gateway on this machine answers sooner.
const NEAR: Duration = Duration::from_secs(3);

/// Looks at everything.
pub(super) fn look(settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let failed = |error: std::io::Error| Failure::Runtime(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let found = LocalSet::new().block_on(&runtime, look_at_all(settings));
    // A look-up of a name cannot be broken off.
    runtime.shutdown_background();
    found
}

async fn look_at_all(settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let hosts = hosts(settings);
    let (mut found, clock, names, upstreams, store, webhook, running) = tokio::join!(
        providers(settings),
        clock(settings),
        names(settings, &hosts),
        upstreams(settings),
        store(settings),
        webhook(settings),
        running(settings),
    );
    let certificates = certificate::look(settings, SystemClock.now());
    if let Ok(found) = &mut found {
        found.extend(clock.into_iter().chain(names).chain(certificates).chain(upstreams).chain(store));
        found.extend(webhook.into_iter().chain(running));
    }
    found
}

async fn providers(settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let failover = app::failover(settings, Arc::new(SystemClock))?;
    let asked = failover.providers().map(async |provider| {
        let answer = timeout(PATIENCE, provider.probe()).await.unwrap_or_else(|_| Err(VerifierError::down()));
        of_provider(&**provider, answer.map(|terms| terms.code_length))
    });
    let mut found = join_all(asked).await;
    if settings.lookup.is_some() {
        let what = "not asked: every question there costs";
        found.push(Finding::ok("lookup", what));
    }
    Ok(found)
}

fn of_provider(provider: &dyn Verifier, answer: Result<u8, VerifierError>) -> Finding {
    let about = format!("provider {}", provider.name());
    let error = match answer {
        Ok(digits) => {
            return Finding::ok(about, format!("takes our credentials; its codes have {digits} digits"));
        }
        Err(error) => error,
    };
    match error.trouble {
        Trouble::Configuration => {
            let remedy = match error.status {
                Some(404) => "correct service_sid: the account has no such service",
                Some(_) | None => "correct the account and its secret in [[provider]]",
            };
            Finding::problem(about, format!("refuses us: {error}"), remedy)
        }
        Trouble::Throttled => {
            Finding::warning(about, format!("is there and busy: {error}"), "ask again later")
        }
        Trouble::TooManySends
        | Trouble::InFlight
        | Trouble::InvalidNumber
        | Trouble::ChannelUnsuitable
        | Trouble::Blocked
        | Trouble::Refused
        | Trouble::Down
        | Trouble::Resting
        | Trouble::Ambiguous => {
            let remedy = "let this machine reach it: name server, firewall, CA certificates, base_url";
            Finding::problem(about, format!("does not answer as it should: {error}"), remedy)
        }
    }
}

const WARN_SKEW: u64 = 30;
const WRONG_SKEW: u64 = 300;

/// This machine's clock by those of the providers: whether sessions and tokens end when they should.
async fn clock(settings: &Settings) -> Vec<Finding> {
    let urls: BTreeSet<&str> =
        settings.providers.iter().map(|provider| base_url(&provider.account)).collect();
    let dates = join_all(urls.into_iter().map(date)).await;
    let skews = dates.into_iter().flatten().map(|there| SystemClock.now().unix() - there);
    let Some(skew) = skews.min_by_key(|skew| skew.unsigned_abs()) else {
        return vec![Finding::warning(
            "clock",
            "no provider told the time",
            "compare it by hand: date --utc",
        )];
    };
    let remedy = "set it, and keep it set: apt-get install systemd-timesyncd";
    let side = if skew > 0 { "ahead of" } else { "behind" };
    let what = format!("is {} s {side} the provider's", skew.unsigned_abs());
    vec![match skew.unsigned_abs() {
        WRONG_SKEW.. => Finding::problem("clock", what, remedy),
        WARN_SKEW..WRONG_SKEW => Finding::warning("clock", what, remedy),
        0..WARN_SKEW => Finding::ok("clock", "agrees with the provider's"),
    }]
}

fn base_url(account: &Account) -> &str {
    match account {
        Account::Twilio(account) => &account.base_url,
        Account::Vonage(account) => &account.base_url,
        Account::VonageV1(account) => &account.base_url,
    }
}

/// What every answer says of the time, asked without our credentials.
async fn date(url: &str) -> Option<i64> {
    let http =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build();
    let answer = http.ok()?.head(url).send().await.ok()?;
    let text = answer.headers().get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(date.as_second())
}

async fn names(settings: &Settings, hosts: &[String]) -> Vec<Finding> {
    let behind_a_proxy = !settings.server.trusted_proxies.is_empty();
    join_all(hosts.iter().map(|host| name(host, behind_a_proxy))).await
}

async fn name(host: &str, behind_a_proxy: bool) -> Finding {
    let about = format!("name {host}");
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Finding::ok(about, "is an address");
    }
    let found = timeout(PATIENCE, tokio::net::lookup_host((host, 443))).await;
    let addresses: BTreeSet<IpAddr> = match found {
        Ok(Ok(found)) => found.map(|address| address.ip().to_canonical()).collect(),
        Ok(Err(_)) | Err(_) => BTreeSet::new(),
    };
    if addresses.is_empty() {
        let remedy = "give it an A or AAAA record in the DNS, or correct public_url and host";
        return Finding::problem(about, "is not found: nobody gets here by it", remedy);
    }
    let listed: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let listed = listed.join(", ");
    let elsewhere = !addresses.iter().any(|address| is_here(*address));
    match (elsewhere, behind_a_proxy) {
        (false, _) => Finding::ok(about, format!("leads here: {listed}")),
        (true, true) => {
            Finding::ok(about, format!("leads to {listed}; a proxy is in front, as trusted_proxies says"))
        }
        (true, false) => {
            let what = format!("leads to {listed}, which is no address of this machine");
            Finding::warning(
                about,
                what,
                "fine where a router, a load balancer or a proxy sends it on to here",
            )
        }
    }
}

/// Nobody but its owner may take an address.
fn is_here(address: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::from((address, 0))).is_ok()
}

async fn upstreams(settings: &Settings) -> Vec<Finding> {
    let Ok(applications) = Applications::new(&settings.routes, settings.server.max_connections) else {
        return Vec::new();
    };
    let looked = applications.look_once(PATIENCE).await.into_iter().map(|look| {
        let about = format!("upstream {}", look.upstream);
        match look.answer {
            Ok(()) => Finding::ok(about, format!("takes connections of route {}", look.route)),
            Err(why) => {
                let remedy = format!("start the application, or correct upstream of route {}", look.route);
                Finding::problem(about, why, remedy)
            }
        }
    });
    looked.collect()
}

/// Opened as commands do beside a running gateway, and asked for a change that is none.
async fn store(settings: &Settings) -> Vec<Finding> {
    let about = "store".to_owned();
    if let Place::Sqlite(file) = &settings.store.place
        && !file.exists()
    {
        let what = format!("there is none yet; the gateway makes {}", file.display());
        return vec![Finding::ok(about, what)];
    }
    let place = settings.store.place.clone();
    // It waits for the disk or the server.
    let opened = tokio::task::spawn_blocking(move || app::open(&place, Use::Beside, None)).await;
    let store = match opened {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => return vec![Finding::problem(about, error.to_string(), REPAIR)],
        Err(error) => return vec![Finding::problem(about, error.to_string(), REPAIR)],
    };
    let nobodys = ChallengeId::from_random(crypto::random());
    let name = app::name(&settings.store.place);
    vec![match timeout(PATIENCE, store.cancel_challenge(nobodys)).await {
        Ok(Ok(())) => Finding::ok(about, format!("{name} can be written")),
        Ok(Err(error)) => Finding::problem(about, format!("{name}: {error}"), REPAIR),
        Err(_) => Finding::problem(about, format!("{name} does not answer"), REPAIR),
    }]
}

const REPAIR: &str = "look at its disk or server, and at who owns it; see docs/store.md";

/// Whether it can be reached; no line of the audit trail is sent.
async fn webhook(settings: &Settings) -> Vec<Finding> {
    let Some(webhook) = settings.audit.webhook.clone() else { return Vec::new() };
    vec![match knock(webhook).await {
        Ok(()) => Finding::ok("webhook", "is there; no event was sent"),
        Err(why) => {
            let remedy = "start the receiver, or correct audit.webhook and audit.webhook_ca";
            Finding::problem("webhook", format!("cannot be reached: {why}"), remedy)
        }
    }]
}

/// Whether the gateway runs, and else whether it could take its addresses.
async fn running(settings: &Settings) -> Vec<Finding> {
    let about = "gateway".to_owned();
    let url = format!("http://{}/health/ready", settings.observe.listen);
    let Ok(http) = reqwest::Client::builder().no_proxy().timeout(NEAR).build() else { return Vec::new() };
    match http.get(url).send().await {
        Ok(answer) if answer.status().is_success() => vec![Finding::ok(about, "runs, and is ready")],
        Ok(answer) if answer.status().as_u16() == 503 => {
            let why = answer.text().await.unwrap_or_default();
            let what = format!("runs, and is not ready: {}", why.trim());
            vec![Finding::problem(about, what, "see journalctl -u vestibule")]
        }
        Ok(_) => {
            let what = format!("something else answers at {}", settings.observe.listen);
            vec![Finding::problem(about, what, "give observe.listen a free address")]
        }
        Err(_) => {
            let taken: Vec<_> = settings.server.listen.iter().filter_map(taken).collect();
            if taken.iter().any(|finding| finding.level() == Level::Problem) {
                return taken;
            }
            vec![Finding::ok(about, "does not run here; its addresses are free")]
        }
    }
}

/// Only what is certain: whoever may not take a low port is not the gateway's user.
fn taken(listen: &Listen) -> Option<Finding> {
    let Listen::Tcp(address) = listen else { return None };
    let error = std::net::TcpListener::bind(address).err()?;
    let kind = error.kind();
    let what = if kind == ErrorKind::AddrInUse {
        format!("something else listens on {address}")
    } else if kind == ErrorKind::AddrNotAvailable {
        format!("{address} is no address of this machine")
    } else {
        return None;
    };
    Some(Finding::problem("gateway", what, "stop that, or choose another address in server.listen"))
}
