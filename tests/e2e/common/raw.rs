//! HTTP by hand, for requests no well-behaved client would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::PATIENCE;

/// Sends bytes and reads all that comes until the other side closes, or is silent for `silence`.
pub async fn exchange(address: SocketAddr, bytes: &[u8], silence: Duration) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    read_all(&mut stream, silence).await
}

/// Sends bytes and reads until the other side closes.
pub async fn until_closed(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    assert!(read.is_ok(), "the connection was not closed; it said: {}", String::from_utf8_lossy(&all));
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads what comes until silence.
pub async fn read_all(stream: &mut TcpStream, silence: Duration) -> String {
    let mut all = Vec::new();
    while let Ok(Ok(read)) = tokio::time::timeout(silence, stream.read_buf(&mut all)).await {
        if read == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads the head of one answer.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    while super::upstream::find(&all, b"\r\n\r\n").is_none() {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut all))
            .await
            .expect("an answer in time")
            .unwrap();
        assert!(read > 0, "the connection was closed: {}", String::from_utf8_lossy(&all));
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// The status of the first answer in a text.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.get(..3)?.parse().ok()).unwrap_or(0)
}
