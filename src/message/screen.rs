//! HTTP/1.1 requests as they come in, screened before they are parsed: what could be framed in two ways is refused.
//!
//! hyper is lenient where a proxy must not be. It takes bare line feeds, drops a `Content-Length` that stands beside
//! `Transfer-Encoding`, merges equal lengths, skips what it does not know in a chunk's size line. [`Screen`] follows
//! the same bytes, cut anywhere, and passes only what hyper and every strict reader end at the same byte. What hyper
//! refuses by itself (odd bytes in names and values, odd versions, too many fields) is left to it: after a refusal
//! nothing is read, so that there is nothing to disagree on.

mod chunks;

use chunks::{Chunks, Step};

/// The connection is not screened any further: its next byte could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request could be read in two ways at byte {at}")]
pub struct Refused {
    /// So many bytes of those last shown are still what everybody reads alike.
    pub at: usize,
}

/// Where in a connection the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Between two requests.
    Between,
    /// In a head.
    Head,
    /// In a body.
    Body,
    /// After the head of a request to switch protocols: whose bytes these are depends on its answer.
    Switching,
}

/// A reader that keeps nothing of what it reads but the start of a line that was cut.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    state: State,
    framing: Framing,
    cut: Cut,
    heads: u32,
    is_early: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Before or in a request line.
    #[default]
    RequestLine,
    /// The same after an empty line, of which one is let pass (RFC 9112 section 2.2).
    AfterEmptyLine,
    Fields,
    Length(u64),
    Chunks(Chunks),
    Trailers,
    Switching,
}

/// A line is wrong.
struct Odd;

impl Screen {
    /// Shows the next bytes of the connection.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            at += self.step(rest).map_err(|refused| Refused { at: at + refused.at })?;
        }
        Ok(())
    }

    /// Where the next byte stands.
    pub const fn stage(&self) -> Stage {
        match self.state {
            State::RequestLine | State::AfterEmptyLine if self.cut.is_empty() => Stage::Between,
            State::RequestLine | State::AfterEmptyLine | State::Fields => Stage::Head,
            State::Length(_) | State::Chunks(_) | State::Trailers => Stage::Body,
            State::Switching => Stage::Switching,
        }
    }

    /// How many heads have passed, modulo 2³².
    pub const fn heads(&self) -> u32 {
        self.heads
    }

    /// Whether bytes have come after the head of a request to switch protocols.
    pub const fn is_early(&self) -> bool {
        self.is_early
    }

    /// The protocol was not switched: what comes is the next request.
    pub const fn stayed(&mut self) {
        self.state = State::RequestLine;
        self.is_early = false;
    }

    /// Takes some of the bytes, one at least, and says how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        match &mut self.state {
            State::RequestLine | State::AfterEmptyLine | State::Fields | State::Trailers => self.line(bytes),
            State::Length(left) => {
                let here = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= here as u64;
                if *left == 0 {
                    self.state = State::RequestLine;
                }
                Ok(here)
            }
            State::Chunks(chunks) => match chunks.step(bytes) {
                Step::Took(here) => Ok(here),
                Step::Last => {
                    self.state = State::Trailers;
                    Ok(1)
                }
                Step::Odd => Err(Refused { at: 0 }),
            },
            State::Switching => {
                self.is_early = true;
                Ok(bytes.len())
            }
        }
    }

    /// Takes the rest of a line, or all there is of it.
    fn line(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let end = memchr::memchr(b'\n', bytes);
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        if self.is_request_line() {
            target_bytes(piece)?;
        }
        let Some(end) = end else {
            self.cut.keep(piece);
            return Ok(piece.len());
        };
        let judged = if self.cut.is_empty() {
            piece.strip_suffix(b"\r").ok_or(Odd).and_then(|line| self.judge(line))
        } else {
            let mut cut = std::mem::take(&mut self.cut);
            cut.keep(piece);
            cut.line().ok_or(Odd).and_then(|line| self.judge(line))
        };
        judged.map(|()| end + 1).map_err(|Odd| Refused { at: end })
    }

    const fn is_request_line(&self) -> bool {
        matches!(self.state, State::RequestLine | State::AfterEmptyLine)
    }

    /// Judges a line without its end; of a long one that was cut, its start.
    fn judge(&mut self, line: &[u8]) -> Result<(), Odd> {
        match self.state {
            State::RequestLine if line.is_empty() => self.state = State::AfterEmptyLine,
            // The preface of HTTP/2, which hyper would leave without an answer.
            State::RequestLine | State::AfterEmptyLine if line.is_empty() || line.starts_with(b"PRI ") => {
                return Err(Odd);
            }
            State::RequestLine | State::AfterEmptyLine => {
                self.framing = Framing::default();
                self.state = State::Fields;
            }
            State::Fields if line.is_empty() => {
                self.heads = self.heads.wrapping_add(1);
                self.state = self.framing.body();
            }
            State::Fields => self.framing.field(line)?,
            State::Trailers if line.is_empty() => self.state = State::RequestLine,
            // A trailer says nothing about framing (RFC 9110 section 6.5.1).
            State::Trailers => {
                let mut framing = Framing::default();
                framing.field(line)?;
                if framing != Framing::default() {
                    return Err(Odd);
                }
            }
            State::Length(_) | State::Chunks(_) | State::Switching => {}
        }
        Ok(())
    }
}

/// A target is ASCII without a fragment: hyper would drop the one, and read the other, without a word.
fn target_bytes(piece: &[u8]) -> Result<(), Refused> {
    if piece.is_ascii() && memchr::memchr(b'#', piece).is_none() {
        return Ok(());
    }
    let at = piece.iter().position(|b| !b.is_ascii() || *b == b'#').unwrap_or_default();
    Err(Refused { at })
}

/// What a head says about the body and what comes after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

/// A field about framing is never longer than this, name and white space included.
const LONGEST: usize = 64;

impl Framing {
    fn field(&mut self, line: &[u8]) -> Result<(), Odd> {
        // A folded line, or white space before the first field (RFC 9112 sections 2.2 and 5.2).
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Odd);
        }
        if let Some(value) = value_of(line, b"content-length") {
            return self.content_length(value?);
        }
        if let Some(value) = value_of(line, b"transfer-encoding") {
            return self.transfer_encoding(value?);
        }
        self.upgrade |= value_of(line, b"upgrade").is_some();
        Ok(())
    }

    /// One length, and nothing beside it (RFC 9112 section 6.3).
    fn content_length(&mut self, value: &[u8]) -> Result<(), Odd> {
        if self.chunked || self.length.is_some() {
            return Err(Odd);
        }
        self.length = Some(number(value).ok_or(Odd)?);
        Ok(())
    }

    /// Chunks once, and nothing beside them (RFC 9112 section 6.1).
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Odd> {
        if self.chunked || self.length.is_some() || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Odd);
        }
        self.chunked = true;
        Ok(())
    }

    fn body(self) -> State {
        match self.length {
            _ if self.chunked => State::Chunks(Chunks::default()),
            Some(length @ 1..) => State::Length(length),
            // A request with a body switches to nothing: see proxy::upgrade.
            Some(0) | None if self.upgrade => State::Switching,
            Some(0) | None => State::RequestLine,
        }
    }
}

/// Digits, of which 19 fit into what everybody counts with.
fn number(digits: &[u8]) -> Option<u64> {
    let plain = (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// The value of a field of this name, if the line is one; in an odd spelling or length it is none. An underscore is a
/// hyphen to the programs behind some servers.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<Result<&'l [u8], Odd>> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    if found.eq_ignore_ascii_case(name) {
        let fits = line.len() <= LONGEST;
        return Some(if fits { Ok(value.trim_ascii()) } else { Err(Odd) });
    }
    let alike = found.iter().zip(name).all(|(b, n)| b.eq_ignore_ascii_case(n) || (*b == b'_' && *n == b'-'));
    alike.then_some(Err(Odd))
}

/// The start of a line that was cut, and its last byte: all that a judgement needs.
#[derive(Clone, Copy, Debug)]
struct Cut {
    start: [u8; Self::KEPT],
    kept: u8,
    is_longer: bool,
    last: u8,
}

impl Default for Cut {
    fn default() -> Self {
        Self { start: [0; Self::KEPT], kept: 0, is_longer: false, last: 0 }
    }
}

impl Cut {
    /// A line of [`LONGEST`] bytes, one more by which it is too long, and the carriage return.
    const KEPT: usize = LONGEST + 2;

    const fn is_empty(&self) -> bool {
        self.kept == 0
    }

    fn keep(&mut self, piece: &[u8]) {
        let kept = usize::from(self.kept);
        let room = piece.len().min(Self::KEPT - kept);
        self.start[kept..kept + room].copy_from_slice(&piece[..room]);
        self.kept += u8::try_from(room).expect("no more than is kept");
        self.is_longer |= room < piece.len();
        self.last = piece.last().copied().unwrap_or(self.last);
    }

    /// The line, or the start of a long one, unless it ended without a carriage return.
    fn line(&self) -> Option<&[u8]> {
        let start = &self.start[..usize::from(self.kept)];
        if self.last != b'\r' {
            return None;
        }
        if self.is_longer { Some(start) } else { start.strip_suffix(b"\r") }
    }
}

#[cfg(test)]
mod tests;
