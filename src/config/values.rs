//! Kinds of values that several sections have.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use super::reader::{Section, distance};
use crate::domain::time::parse_duration;

/// A duration, or its default.
pub(super) fn duration(section: &Section<'_>, key: &'static str, default: Duration) -> Duration {
    let read = section.value(key, |value| {
        let text = value.as_str().unwrap_or_default();
        parse_duration(text)
            .map_err(|error| if is_nothing(text) { NOTHING.to_owned() } else { error.to_string() })
    });
    read.unwrap_or(default)
}

const NOTHING: &str = "must be longer than nothing; write a number and a unit, like \"90s\"";

/// A duration that may be nothing, `0s`, or its default.
pub(super) fn duration_or_none(section: &Section<'_>, key: &'static str, default: Duration) -> Duration {
    let read = section.value(key, |value| {
        let text = value.as_str().unwrap_or_default().trim();
        if is_nothing(text) {
            return Ok(Duration::ZERO);
        }
        parse_duration(text).map_err(|error| format!("{error}, or \"0s\" for none"))
    });
    read.unwrap_or(default)
}

/// Whether it is a duration but for its length: `0s`.
fn is_nothing(text: &str) -> bool {
    text.starts_with('0') && text.trim_start_matches('0').bytes().all(|byte| byte.is_ascii_lowercase())
}

/// A network, or one address.
pub(super) struct Network(pub(super) IpNet);

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let one = || text.parse::<IpAddr>().map(IpNet::from);
        let wrong = "not a network; write it like \"10.0.0.0/8\", or one address like \"10.0.0.5\"";
        text.parse().or_else(|_| one()).map(|net| Self(canonical(net))).map_err(|_| wrong)
    }
}

/// Addresses are looked up in their IPv4 form where they have one (RFC 4291 section 2.5.5.2).
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let inner = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    inner.and_then(|(v4, length)| Ipv4Net::new(v4, length).ok()).map_or(net, IpNet::V4)
}

/// Notes a list of proxies that is none: one that covers everybody, or so much that half of the world is in it.
pub(super) fn refuse_everybody(section: &Section<'_>, key: &'static str, proxies: &[IpNet]) {
    let is_no_list = |net: &IpNet| match net {
        IpNet::V4(net) => net.prefix_len() < 8,
        // fc00::/7 is to IPv6 what 10.0.0.0/8 is to IPv4 (RFC 4193).
        IpNet::V6(net) => {
            net.prefix_len() < 16 && !(net.prefix_len() >= 7 && net.network().is_unique_local())
        }
    };
    if let Some(net) = proxies.iter().find(|net| is_no_list(net)) {
        let text = format!(
            "with {net} everybody would be trusted to say what only proxies may; list the proxies' own networks"
        );
        section.problem(key, &text);
    }
}

/// A size in bytes.
pub(super) fn size(section: &Section<'_>, key: &'static str) -> Option<u64> {
    section.value(key, |value| {
        let text = value.as_str().unwrap_or_default().trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let unit: u64 = match text[digits..].trim() {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => 0,
        };
        let size = text[..digits].parse().ok().and_then(|number: u64| number.checked_mul(unit));
        size.filter(|size| *size > 0).ok_or_else(|| {
            "not a size; write a number and a unit, like \"512KiB\", \"20MiB\" or \"2GiB\"".to_owned()
        })
    })
}

/// For one whole call that a person waits for, or its default.
pub(super) fn timeout(section: &Section<'_>, default: Duration) -> Duration {
    let timeout = duration(section, "timeout", default);
    if timeout > LONGEST_WAIT {
        section.problem("timeout", "too long for a person who waits; write at most \"60s\"");
    }
    timeout
}

const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// One of a few words. Without a default the key must be there.
pub(super) fn one_of<T: Copy>(
    section: &Section<'_>,
    key: &'static str,
    words: &[(&str, T)],
    default: Option<T>,
) -> Option<T> {
    let list = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
    let value = section.value(key, |value| {
        let text = value.as_str().unwrap_or_default();
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        found.ok_or_else(|| match near(text, words.iter().map(|(word, _)| *word)) {
            Some(word) => format!("not known; did you mean \"{word}\"? write {}", list()),
            None => format!("not known; write {}", list()),
        })
    });
    if default.is_none() && !section.has(key) {
        section.problem(key, &format!("missing; write {}", list()));
    }
    value.or(default)
}

/// The word that was probably meant. One with another number in it is another thing.
fn near<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let (text, number) = (text.to_ascii_lowercase(), digits(text));
    let alike = words.filter(|word| digits(word).is_empty() || digits(word) == number);
    let close = alike.map(|word| (distance(&text, word), word)).filter(|(far, word)| far * 2 <= word.len());
    close.min().filter(|(far, _)| *far <= 3).map(|(_, word)| word)
}

/// The address of a receiver, without a secret in it.
pub(super) fn receiver(text: &str) -> Result<url::Url, String> {
    let wrong = || "not an address; write it like \"https://alerts.example.com/vestibule\"".to_owned();
    let url: url::Url = text.parse().map_err(|_| wrong())?;
    let fits = matches!(url.scheme(), "https" | "http") && url.has_host();
    if !fits {
        return Err(wrong());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a secret in plain; name it by the key that is made for it".to_owned());
    }
    Ok(url)
}
