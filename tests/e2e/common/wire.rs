//! Connections that the test drives byte by byte: as a client of the gateway, and as an upstream of its own.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::PATIENCE;
use super::upstream::find;

/// One end of a connection, with what has come and was not asked for yet.
#[derive(Debug)]
pub struct Wire<S = TcpStream> {
    pub stream: S,
    buffer: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With all the bytes before it.
    Closed(Vec<u8>),
    /// By a reset.
    Broken,
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    /// From an address of this machine's.
    pub async fn from(here: &str, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{here}:0").parse().unwrap()).unwrap();
        Self::new(socket.connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        timeout(PATIENCE, sending).await.expect("bytes are taken in time").unwrap();
    }

    /// Everything up to and with this text.
    pub async fn until(&mut self, mark: &str) -> String {
        String::from_utf8_lossy(&self.bytes_until(mark).await).into_owned()
    }

    /// The same, to the byte.
    pub async fn bytes_until(&mut self, mark: &str) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.buffer, mark.as_bytes()) {
                return self.buffer.drain(..at + mark.len()).collect();
            }
            assert!(
                self.more().await > 0,
                "closed before {mark:?}: {}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    /// The next head.
    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// So many bytes.
    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.more().await > 0, "closed after {} of {length} bytes", self.buffer.len());
        }
        self.buffer.drain(..length).collect()
    }

    /// So many bytes, or None when the connection ends before.
    pub async fn up_to(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if self.more().await == 0 {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// A whole answer that has a `content-length`.
    pub async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let body = self.exactly(length).await;
        (head, String::from_utf8_lossy(&body).into_owned())
    }

    /// All that comes until the other side ends the connection.
    pub async fn end(&mut self) -> End {
        loop {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            match read
                .unwrap_or_else(|_| panic!("not ended after: {}", String::from_utf8_lossy(&self.buffer)))
            {
                Ok(0) => return End::Closed(std::mem::take(&mut self.buffer)),
                Ok(_) => {}
                Err(_) => return End::Broken,
            }
        }
    }

    /// Whether the other side ends the connection, gently or not, without another byte.
    pub async fn ends_silently(&mut self) -> bool {
        match self.end().await {
            End::Closed(said) => said.is_empty(),
            End::Broken => self.buffer.is_empty(),
        }
    }

    async fn more(&mut self) -> usize {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        read.unwrap_or_else(|_| panic!("silence after: {}", String::from_utf8_lossy(&self.buffer)))
            .unwrap_or(0)
    }

    /// Whether anything comes within so long.
    pub async fn hears_nothing_for(&mut self, silence: Duration) -> bool {
        self.buffer.is_empty() && timeout(silence, self.stream.read_buf(&mut self.buffer)).await.is_err()
    }
}

/// An upstream whose every connection the test takes and answers itself.
#[derive(Debug)]
pub struct Manual {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Manual {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// The next connection.
    pub async fn accept(&self) -> Wire {
        let (stream, _) =
            timeout(PATIENCE, self.listener.accept()).await.expect("a connection in time").unwrap();
        Wire::new(stream)
    }

    /// The next connection and the head of its first request.
    pub async fn request(&self) -> (Wire, String) {
        let mut wire = self.accept().await;
        let head = wire.head().await;
        (wire, head)
    }
}

/// An address where nobody listens.
pub async fn nobody() -> SocketAddr {
    Manual::start().await.address
}

/// The value of a field in a head, by its name in lower case.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    fields(head, name).into_iter().next()
}

/// All values of a field.
pub fn fields<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    pairs.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// The status of a head.
pub fn status(head: &str) -> u16 {
    super::raw::status(head)
}
