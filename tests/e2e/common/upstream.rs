//! An upstream that speaks in raw bytes: it keeps every request it gets and answers what the test told it to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a connection does once a request's head has come.
pub type Answer = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

#[derive(Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    answer: Arc<Mutex<Answer>>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Answers 200 `hello` to everything until told otherwise.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hello: Answer = Arc::new(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_vec());
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
            answer: Arc::new(Mutex::new(hello)),
        };
        let serving = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        upstream
    }

    /// From now on every request gets these bytes. An answer that ends with `!close` ends the connection there.
    pub fn answers(&self, bytes: &str) {
        let bytes = bytes.as_bytes().to_vec();
        self.answers_by(move |_| bytes.clone());
    }

    /// From now on each request's head decides.
    pub fn answers_by(&self, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    /// Every request so far: head, and body where it had a `content-length` or was chunked, as raw text.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The newest request.
    pub fn last(&self) -> String {
        self.requests().pop().expect("a request came")
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        loop {
            let Some(end) = find(&buffer, b"\r\n\r\n") else {
                if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                    return;
                }
                continue;
            };
            let head = String::from_utf8_lossy(&buffer[..end + 4]).into_owned();
            buffer.drain(..end + 4);
            let Some(body) = body(&head, &mut buffer, &mut stream).await else { return };
            self.requests.lock().unwrap().push(format!("{head}{body}"));
            let answer = self.answer.lock().unwrap().clone()(&head);
            let (bytes, close) = match answer.strip_suffix(b"!close") {
                Some(bytes) => (bytes.to_vec(), true),
                None => (answer, false),
            };
            if stream.write_all(&bytes).await.is_err() || close {
                return;
            }
            if bytes.starts_with(b"HTTP/1.1 101") {
                return echo(stream, buffer).await;
            }
        }
    }
}

/// Sends back whatever comes, as a WebSocket peer that knows no frames would.
async fn echo(mut stream: TcpStream, early: Vec<u8>) {
    let _ = stream.write_all(&early).await;
    let (mut read, mut write) = stream.split();
    let _ = tokio::io::copy(&mut read, &mut write).await;
}

async fn body(head: &str, buffer: &mut Vec<u8>, stream: &mut TcpStream) -> Option<String> {
    let field = |name: &str| {
        head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix(name).map(|value| value.trim().to_owned())
        })
    };
    if let Some(length) = field("content-length:") {
        let length: usize = length.parse().unwrap();
        while buffer.len() < length {
            if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
        return Some(String::from_utf8_lossy(&buffer.drain(..length).collect::<Vec<_>>()).into_owned());
    }
    if field("transfer-encoding:").is_none() {
        return Some(String::new());
    }
    loop {
        if let Some(end) = find(buffer, b"0\r\n\r\n") {
            return Some(String::from_utf8_lossy(&buffer.drain(..end + 5).collect::<Vec<_>>()).into_owned());
        }
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|at| at == needle)
}
