//! The bytes of a trick, and what comes back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How an instance is reached.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    /// TLS, and the name that is asked for.
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Door {
    pub(super) const fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    pub(super) fn secure(
        address: SocketAddr,
        name: ServerName<'static>,
        mut client: rustls::ClientConfig,
    ) -> Self {
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { address, tls: Some((TlsConnector::from(Arc::new(client)), name)) }
    }

    /// Sends it on a connection of its own; everything that comes until the other side closes or is silent.
    pub(super) async fn send(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let stream = timeout(FIRST, TcpStream::connect(self.address)).await??;
        match &self.tls {
            None => exchange(stream, bytes).await,
            Some((connector, name)) => {
                let stream = timeout(FIRST, connector.connect(name.clone(), stream)).await??;
                exchange(stream, bytes).await
            }
        }
    }
}

/// For what comes first: an offender is made to wait.
const FIRST: Duration = Duration::from_secs(5);
/// For each next piece.
const NEXT: Duration = Duration::from_millis(300);
/// Nobody looks at more.
const MOST: usize = 256 * 1_024;

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> io::Result<Vec<u8>> {
    // Whoever refuses may close before all is written, and has answered all the same.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    let (mut all, mut patience) = (Vec::new(), FIRST);
    while all.len() < MOST {
        match timeout(patience, stream.read_buf(&mut all)).await {
            Ok(Ok(1..)) => patience = NEXT,
            Ok(Ok(0) | Err(_)) | Err(_) => break,
        }
    }
    Ok(all)
}

/// The answers in what came: the head of each, in small letters.
pub(super) fn heads(answer: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(answer);
    let starts: Vec<_> =
        text.match_indices("HTTP/1.").map(|(at, _)| at).filter(|at| is_status(&text[*at..])).collect();
    let head = |at: &usize| text[*at..].split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
    starts.iter().map(head).collect()
}

fn is_status(text: &str) -> bool {
    let code = text.get(9..12).unwrap_or_default();
    text.get(8..9) == Some(" ") && code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit())
}

/// The status of a head.
pub(super) fn status(head: &str) -> u16 {
    head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0)
}
