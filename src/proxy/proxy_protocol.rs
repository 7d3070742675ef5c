//! The PROXY protocol towards an upstream: whom a connection is for, said before anything else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proxy_header::{ProxiedAddress, ProxyHeader};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::config::ProxyProtocol;

/// Says it on a new connection to this address. Which port the client has is not known, nor which address it connected
/// to where proxies are in between: its port is 0, and the destination is the upstream.
pub(super) async fn say<S: AsyncWrite + Unpin>(
    stream: &mut S,
    version: ProxyProtocol,
    client: Option<IpAddr>,
    upstream: Option<SocketAddr>,
) -> io::Result<()> {
    stream.write_all(&header(version, client, upstream)?).await
}

fn header(
    version: ProxyProtocol,
    client: Option<IpAddr>,
    upstream: Option<SocketAddr>,
) -> io::Result<Vec<u8>> {
    let header = match client {
        Some(client) => {
            let (client, upstream) = of_one_family(client, upstream);
            ProxyHeader::with_address(ProxiedAddress::stream(client, upstream))
        }
        None => ProxyHeader::with_local(),
    };
    let mut bytes = Vec::new();
    let encoded = match version {
        ProxyProtocol::V1 => header.encode_v1(&mut bytes),
        ProxyProtocol::V2 => header.encode_v2(&mut bytes),
    };
    encoded.map_err(io::Error::other)?;
    Ok(bytes)
}

/// The header has both addresses of one family.
fn of_one_family(client: IpAddr, upstream: Option<SocketAddr>) -> (SocketAddr, SocketAddr) {
    let nowhere = match client {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let upstream = upstream.unwrap_or_else(|| SocketAddr::new(nowhere, 0));
    let mapped = |address: IpAddr| match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        IpAddr::V6(_) => address,
    };
    if client.is_ipv4() == upstream.is_ipv4() {
        return (SocketAddr::new(client, 0), upstream);
    }
    (SocketAddr::new(mapped(client), 0), SocketAddr::new(mapped(upstream.ip()), upstream.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_name_the_client() {
        let client = Some("192.0.2.7".parse().unwrap());
        let upstream = Some("127.0.0.1:80".parse().unwrap());
        let line = header(ProxyProtocol::V1, client, upstream).unwrap();
        assert_eq!(line, b"PROXY TCP4 192.0.2.7 127.0.0.1 0 80\r\n");
        assert_eq!(header(ProxyProtocol::V1, None, upstream).unwrap(), b"PROXY UNKNOWN\r\n");
        let six = Some("2001:db8::1".parse().unwrap());
        let line = header(ProxyProtocol::V1, six, upstream).unwrap();
        assert_eq!(line, b"PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 0 80\r\n");
        let socket = header(ProxyProtocol::V1, client, None).unwrap();
        assert_eq!(socket, b"PROXY TCP4 192.0.2.7 0.0.0.0 0 0\r\n");
        let bytes = header(ProxyProtocol::V2, client, upstream).unwrap();
        let signature = b"\r\n\r\n\0\r\nQUIT\n";
        assert_eq!(bytes, [&signature[..], b"\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\0\0\0\x50"].concat());
        assert_eq!(header(ProxyProtocol::V2, None, upstream).unwrap()[12], 0x20, "speaking for itself");
    }
}
