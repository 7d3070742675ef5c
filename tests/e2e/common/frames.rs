//! HTTP/2 frame by frame (RFC 9113), for what no library sends.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::wire::Wire;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Settings of a client that lets no byte of an answer come.
pub const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];

/// A frame as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection whose every frame is the test's.
pub struct Frames {
    pub wire: Wire<TlsStream<TcpStream>>,
}

impl Frames {
    /// Begins a connection with these settings.
    pub async fn begin(stream: TlsStream<TcpStream>, settings: &[u8]) -> Self {
        let mut frames = Self { wire: Wire::new(stream) };
        frames.wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(SETTINGS, 0, 0, settings).await;
        frames
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.wire.send(frame(kind, flags, stream, payload)).await;
    }

    /// The next frame; None is the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let head = self.wire.up_to(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.wire.up_to(length as usize).await?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame that is about this, or about the end of everything.
    pub async fn about(&mut self, stream: u32) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == GOAWAY || (frame.stream == stream && frame.kind != WINDOW_UPDATE && stream != 0)
            {
                return Some(frame);
            }
            if frame.kind == PING && frame.flags == 0 {
                self.send(PING, 1, 0, &frame.payload).await;
            }
        }
    }

    /// Asks whether the other side is there, and says that we are.
    pub async fn ping(&mut self) {
        self.send(PING, 0, 0, &[0; 8]).await;
        loop {
            let frame = self.next().await.expect("the connection is open");
            match (frame.kind, frame.flags) {
                (PING, 0) => self.send(PING, 1, 0, &frame.payload).await,
                (PING, _) => return,
                _ => {}
            }
        }
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as they stand: literals without Huffman coding or a table (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let text = |text: &[u8]| {
        let mut coded = integer(text.len());
        coded.extend(text);
        coded
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// With a prefix of seven bits (RFC 7541 section 5.1).
fn integer(number: usize) -> Vec<u8> {
    let Some(mut rest) = number.checked_sub(127) else { return vec![u8::try_from(number).unwrap()] };
    let mut coded = vec![127];
    while rest >= 128 {
        coded.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    coded.push(u8::try_from(rest).unwrap());
    coded
}
