//! A WebSocket that repeats what it hears (RFC 6455), to see that upgrades pass the gateway.
//!
//! Only what an echo needs: masked client frames of up to 64 KiB, sent back as they came, one by one.

use std::io;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::wire::{self, Body};

/// Switches protocols, or `None` when the request does not ask for a WebSocket.
pub(super) fn accept(request: &mut Request<Incoming>) -> Option<Response<Body>> {
    let fields = request.headers();
    fields.get(UPGRADE).filter(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))?;
    let accept = HeaderValue::from_str(&accept_key(fields.get(SEC_WEBSOCKET_KEY)?.as_bytes())).ok()?;
    tokio::spawn(converse(hyper::upgrade::on(request)));
    let mut response = Response::new(wire::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Some(response)
}

/// The answer to everyone else.
pub(super) fn refuse() -> Response<Body> {
    let mut response = Response::new(wire::full("This address takes WebSockets only.\n"));
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response
}

async fn converse(upgrade: OnUpgrade) {
    if let Ok(connection) = upgrade.await {
        // The visitor left without a word: nothing to tell anyone.
        let _ended = echo(&mut TokioIo::new(connection)).await;
    }
}

/// Repeats frames until one says close; that one is repeated too (RFC 6455, section 5.5.1).
async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    loop {
        let Frame { first, payload } = read_frame(stream).await?;
        let opcode = first & 0x0f;
        // A ping is answered by a pong (section 5.5.3), a stray pong by nothing.
        match opcode {
            PONG => {}
            PING => write_frame(stream, FINAL | PONG, &payload).await?,
            _ => write_frame(stream, first, &payload).await?,
        }
        if opcode == CLOSE {
            return Ok(());
        }
    }
}

struct Frame {
    first: u8,
    payload: Vec<u8>,
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let first = stream.read_u8().await?;
    let second = stream.read_u8().await?;
    // Section 5.1: a server closes the connection on a frame that is not masked.
    if second & MASKED == 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let length = match second & !MASKED {
        LONG => usize::from(stream.read_u16().await?),
        HUGE => return Err(io::ErrorKind::InvalidData.into()),
        short => usize::from(short),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok(Frame { first, payload })
}

async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), first: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length) if length < LONG => frame.push(length),
        _ => {
            let length = u16::try_from(payload.len()).map_err(|_| io::ErrorKind::InvalidData)?;
            frame.push(LONG);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(payload);
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// RFC 6455, section 4.2.2: proof that the key was read, in a hash chosen in 2011.
fn accept_key(key: &[u8]) -> String {
    let salted = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &salted))
}

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const LONG: u8 = 126;
const HUGE: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_key_is_the_one_of_the_standard() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
