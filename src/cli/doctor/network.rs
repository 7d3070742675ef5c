//! Who reaches what: the application around the gateway, the gateway around its proxy, and what is told to whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::cli::finding::Finding;
use crate::config::{Listen, Settings, Upstream};

pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let mut found = upstreams(settings, &listening());
    found.extend(proxies(settings));
    found.extend(listeners(settings));
    found.extend(observe(settings));
    found
}

/// Every TCP port that is listened on, as the kernel tells (proc(5), `/proc/net/tcp`).
fn listening() -> Vec<SocketAddr> {
    let files =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| std::fs::read_to_string(file).unwrap_or_default());
    files.iter().flat_map(|text| text.lines().filter_map(listener)).collect()
}

/// `  0: 0100007F:1F90 00000000:0000 0A …`: words of the address in the machine's byte order; 0A is listening.
fn listener(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    let state = words.nth(1)?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |place: usize| u32::from_str_radix(address.get(place * 8..place * 8 + 8)?, 16).ok();
    let ip = if address.len() == 8 {
        IpAddr::from(word(0)?.to_ne_bytes())
    } else {
        let mut bytes = [0; 16];
        for place in 0..4 {
            bytes[place * 4..][..4].copy_from_slice(&word(place)?.to_ne_bytes());
        }
        IpAddr::from(bytes).to_canonical()
    };
    (state == "0A").then_some(SocketAddr::new(ip, port))
}

fn upstreams(settings: &Settings, listening: &[SocketAddr]) -> Vec<Finding> {
    let all = settings.routes.iter().flat_map(|route| &route.upstreams.list);
    let mut seen: Vec<&Upstream> = Vec::new();
    for upstream in all {
        if !seen.contains(&upstream) {
            seen.push(upstream);
        }
    }
    seen.into_iter().filter_map(|upstream| around(upstream, listening)).collect()
}

/// Whether others than the gateway reach an upstream.
fn around(upstream: &Upstream, listening: &[SocketAddr]) -> Option<Finding> {
    let authority = match upstream {
        Upstream::Http(authority) | Upstream::H2c(authority) | Upstream::Https { authority, .. } => authority,
        // Its file's mode says who may connect.
        Upstream::Unix(_) => return None,
    };
    let (host, port) = authority.rsplit_once(':')?;
    let (host, port): (_, u16) = (host.trim_matches(['[', ']']), port.parse().ok()?);
    let ip: Option<IpAddr> = host.parse().ok();
    let about = format!("upstream {upstream}");
    let is_here = host == "localhost" || ip.is_some_and(is_here);
    if !is_here {
        let what = "runs on another machine, and nothing here tells who else reaches it";
        return Some(Finding::warning(
            about,
            what,
            "let a firewall there take this machine's connections only",
        ));
    }
    let open: Vec<_> = listening
        .iter()
        .filter(|other| other.port() == port && !other.ip().is_loopback())
        .filter(|other| other.ip().is_unspecified() || ip.is_none_or(|ip| ip == other.ip()))
        .map(ToString::to_string)
        .collect();
    let remedy =
        format!("bind the application to 127.0.0.1, or let a firewall drop port {port} from outside");
    (!open.is_empty()).then(|| {
        let what = format!("listens on {}: whoever reaches that goes around the gateway", open.join(", "));
        Finding::problem(about, what, remedy)
    })
}

/// Nobody but its owner may take an address.
fn is_here(address: IpAddr) -> bool {
    address.is_unspecified() || std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// Whether connections from other machines come to this address.
fn is_open(address: &SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

fn listens_outside(settings: &Settings) -> Option<&SocketAddr> {
    settings.server.listen.iter().find_map(|listen| match listen {
        Listen::Tcp(address) if is_open(address) => Some(address),
        // The service manager knows where those are.
        Listen::Tcp(_) | Listen::Unix(_) | Listen::Passed(_) => None,
    })
}

/// Networks from which whoever likes can say whose a request is.
fn proxies(settings: &Settings) -> Vec<Finding> {
    if listens_outside(settings).is_none() {
        return Vec::new();
    }
    let peers = settings.forward_auth.iter().flat_map(|forward| &forward.peers);
    let lists = settings.server.trusted_proxies.iter().map(|net| ("server.trusted_proxies", net));
    let all = lists.chain(peers.map(|net| ("forward_auth.peers", net)));
    let wide = all.filter_map(|(key, net)| {
        let what = if PRIVATE.iter().any(|whole| contains(net, whole)) {
            format!("has {net}, a whole private range: every machine in it may say whose a request is")
        } else if is_wide(net) {
            format!("has {net}, a wide range of public addresses: whoever has one may say whose a request is")
        } else {
            return None;
        };
        Some(Finding::warning(key, what, "list the addresses of the proxies themselves"))
    });
    wide.collect()
}

const PRIVATE: [IpNet; 4] = [
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    IpNet::V6(ipnet::Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

fn contains(net: &IpNet, whole: &IpNet) -> bool {
    net.contains(whole)
}

/// Wider than any one proxy service announces.
fn is_wide(net: &IpNet) -> bool {
    match net {
        IpNet::V4(v4) => v4.prefix_len() < 12 && !v4.addr().is_private() && !v4.addr().is_loopback(),
        IpNet::V6(v6) => v6.prefix_len() < 24,
    }
}

/// Listening wider than what is said elsewhere needs.
fn listeners(settings: &Settings) -> Vec<Finding> {
    let (server, url) = (&settings.server, &settings.server.public_url);
    let Some(address) = listens_outside(settings) else { return Vec::new() };
    let local = url.host == "localhost"
        || url.host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let port = address.port();
    let near = format!("write listen = [\"127.0.0.1:{port}\"]");
    if local {
        let what = format!("listens on {address}, but public_url is only for this machine");
        return vec![Finding::warning("server.listen", what, near)];
    }
    if !url.secure {
        let what = "public_url is http: codes and sessions travel in clear";
        return vec![Finding::problem(
            "server.public_url",
            what,
            "set up [server.tls], or a proxy that does TLS",
        )];
    }
    if server.tls.is_some() {
        return Vec::new();
    }
    let proxies_near = !server.trusted_proxies.is_empty()
        && server.trusted_proxies.iter().all(|net| net.network().is_loopback());
    if proxies_near {
        let what = format!("listens on {address} without TLS, though its proxy is on this machine");
        return vec![Finding::problem("server.listen", what, near)];
    }
    let what = format!("listens on {address} without TLS: whoever is on the way reads codes and sessions");
    let remedy =
        format!("let a firewall admit only the proxy that does TLS to port {port}, or set up [server.tls]");
    vec![Finding::warning("server.listen", what, remedy)]
}

fn observe(settings: &Settings) -> Option<Finding> {
    let address = settings.observe.listen;
    is_open(&address).then(|| {
        let what = format!("tells {address} its figures without asking who reads them");
        let remedy =
            format!("write \"127.0.0.1:{}\", or let a firewall admit only the monitor", address.port());
        Finding::warning("observe.listen", what, remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let v4 =
            "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1";
        assert_eq!(listener(v4), Some("0.0.0.0:8080".parse().unwrap()));
        let near = "   1: 0100007F:0050 00000000:0000 0A 00000000:00000000";
        assert_eq!(listener(near), Some("127.0.0.1:80".parse().unwrap()));
        let v6 = "   0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0";
        assert_eq!(listener(v6), Some("[::1]:22".parse().unwrap()));
        let established = "   2: 0100007F:0050 0100007F:D431 01 00000000:00000000";
        assert_eq!(listener(established), None);
        for odd in ["", "  sl  local_address rem_address   st", "0: x:y 0 0A", "0: 00:00 0 0A"] {
            assert_eq!(listener(odd), None, "{odd}");
        }
    }
}
