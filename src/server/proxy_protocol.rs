//! The PROXY protocol, versions 1 and 2: a load balancer names the client it connects for, before anything else is
//! said. Read from trusted proxies only, where the configuration says that they speak it.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// It is here in so long, or the connection is closed.
const PATIENCE: Duration = Duration::from_secs(5);
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of version 1, its line end included.
const LONGEST_LINE: usize = 107;
/// Of version 2, addresses and what follows them.
const LONGEST: usize = 2_048;

/// Reads the header and not a byte more. None is the proxy speaking for itself (a health check), or for somebody it
/// cannot name.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<IpAddr>> {
    let header = timeout(PATIENCE, whole(stream)).await??;
    parse(&header).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

async fn whole<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    // The shortest line of version 1 is longer than the signature of version 2.
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        let mut rest = [0; 4];
        stream.read_exact(&mut rest).await?;
        let [_, _, length @ ..] = rest;
        header.extend(rest);
        let length = usize::from(u16::from_be_bytes(length));
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let begin = header.len();
        header.resize(begin + length, 0);
        stream.read_exact(&mut header[begin..]).await?;
        return Ok(header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    while !header.ends_with(b"\n") && header.len() < LONGEST_LINE {
        header.push(stream.read_u8().await?);
    }
    Ok(header)
}

/// Whom a whole header names.
fn parse(header: &[u8]) -> Option<Option<IpAddr>> {
    let (parsed, length) = ProxyHeader::parse(header, ParseConfig::default()).ok()?;
    let client = parsed.proxied_address();
    let is_whole = length == header.len();
    let is_stream = client.is_none_or(|client| client.protocol == Protocol::Stream);
    (is_whole && is_stream).then(|| client.map(|client| client.source.ip()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read, and what is left.
    fn outcome(wire: &[u8]) -> (Option<Option<IpAddr>>, usize) {
        let mut rest = wire;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        (runtime.block_on(read(&mut rest)).ok(), rest.len())
    }

    fn version_2(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
        [SIGNATURE.as_slice(), &[command, family], &length.to_be_bytes(), rest].concat()
    }

    const FOUR: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0, 9, 1, 187];

    #[test]
    fn a_header_names_a_client_and_no_byte_more_is_read() {
        let six = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap();
        let named = |address: &str| Some(Some(address.parse().unwrap()));
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 9 443\r\n".to_vec(), named("192.0.2.1")),
            (b"PROXY TCP6 2001:db8::1 ::1 9 443\r\n".to_vec(), named("2001:db8::1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Some(None)),
            (b"PROXY UNKNOWN 192.0.2.1 10.0.0.1 9 443\r\n".to_vec(), Some(None)),
            (version_2(0x21, 0x11, 12, FOUR), named("192.0.2.1")),
            (version_2(0x21, 0x11, 15, &[FOUR, &[4, 0, 0]].concat()), named("192.0.2.1")),
            (version_2(0x21, 0x21, 36, &[&six.octets()[..], &[0; 20]].concat()), named("2001:db8::1")),
            (version_2(0x20, 0x00, 0, b""), Some(None)),
            (version_2(0x20, 0x11, 12, FOUR), Some(None)),
            (version_2(0x21, 0x00, 3, &[4, 0, 0]), Some(None)),
            (version_2(0x21, 0x31, 216, &[0; 216]), Some(None)),
        ] {
            let wire = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(outcome(&wire), (client, 16), "{:?}", String::from_utf8_lossy(&header));
        }
    }

    #[test]
    fn lesson_43_what_is_no_header_closes_the_connection() {
        let longest = u16::try_from(LONGEST).unwrap();
        let padded =
            |length: u16| version_2(0x21, 0x11, length, &[FOUR, &vec![0; usize::from(length) - 12]].concat());
        assert!(outcome(&padded(longest)).0.is_some());
        for header in [
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            b"PROXY\r\nGET / HTTP/1.1".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 9 443\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 9\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.256 10.0.0.1 9 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 ::1 9 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 9 65536\r\n".to_vec(),
            b"proxy TCP4 192.0.2.1 10.0.0.1 9 443\r\n".to_vec(),
            format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE)).into_bytes(),
            version_2(0x11, 0x11, 12, FOUR),
            version_2(0x22, 0x11, 12, FOUR),
            version_2(0x21, 0x12, 12, FOUR),
            version_2(0x21, 0x41, 12, FOUR),
            version_2(0x21, 0x11, 11, FOUR),
            version_2(0x21, 0x21, 12, FOUR),
            version_2(0x21, 0x31, 12, FOUR),
            version_2(0x21, 0x11, 13, FOUR),
            padded(longest + 1),
            padded(u16::MAX),
        ] {
            assert_eq!(outcome(&header).0, None, "{:?}", String::from_utf8_lossy(&header));
        }
    }

    proptest! {
        #[test]
        fn lesson_43_no_bytes_panic(
            begin in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11"]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            outcome(&[begin, &rest].concat());
        }
    }
}
