//! A body in chunks, without its trailers (RFC 9112 section 7.1).

/// Where in a body the next byte stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    at: At,
    /// What is left of the chunk, or what its size has come to so far.
    size: u64,
    /// Digits of the size, or bytes of its extensions.
    seen: u16,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size, size: 0, seen: 0 }
    }
}

#[derive(Clone, Copy, Debug)]
enum At {
    Size,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    NameStart,
    Name,
    ValueStart,
    Value,
    Quoted,
    Unquoted,
}

/// What became of the next bytes.
pub(super) enum Step {
    /// So many belong to the body.
    Took(usize),
    /// One more, and the trailers begin.
    Last,
    /// The first of them can be read in two ways.
    Odd,
}

/// Of a size, leading zeros included.
const MOST_DIGITS: u16 = 16;
/// Of all extensions of one chunk. Nobody here knows any, so that they are only let pass (RFC 9112 section 7.1.1).
const MOST_EXTENSIONS: u16 = 256;

impl Chunks {
    /// Takes one byte, or all of a chunk's data there are.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        let Some(&byte) = bytes.first() else { return Step::Took(0) };
        if matches!(self.at, At::Data) {
            return self.data(bytes.len());
        }
        if matches!((self.at, byte, self.size), (At::SizeEnd, b'\n', 0)) {
            return Step::Last;
        }
        match self.next(byte) {
            Some(at) => {
                self.at = at;
                Step::Took(1)
            }
            None => Step::Odd,
        }
    }

    fn data(&mut self, there: usize) -> Step {
        let here = usize::try_from(self.size).map_or(there, |left| left.min(there));
        self.size -= here as u64;
        if self.size == 0 {
            self.at = At::DataReturn;
        }
        Step::Took(here)
    }

    /// Where a byte leads, if it may stand here.
    fn next(&mut self, byte: u8) -> Option<At> {
        match (self.at, byte) {
            (At::Size, b'\r') if self.seen > 0 => Some(At::SizeEnd),
            (At::Size, b';') if self.seen > 0 => {
                self.seen = 0;
                Some(At::NameStart)
            }
            (At::Size, _) => self.digit(byte),
            (At::SizeEnd, b'\n') => Some(At::Data),
            (At::DataReturn, b'\r') => Some(At::DataEnd),
            (At::DataEnd, b'\n') => {
                *self = Self::default();
                Some(At::Size)
            }
            (At::Name | At::Value | At::Unquoted, b'\r') => Some(At::SizeEnd),
            (At::Name | At::Value | At::Unquoted, b';') => self.counted(At::NameStart),
            (At::Name, b'=') => self.counted(At::ValueStart),
            (At::ValueStart, b'"') => self.counted(At::Quoted),
            (At::Quoted, b'"') => self.counted(At::Unquoted),
            // A backslash would let the quotation end elsewhere for who does not know it.
            (At::Quoted, b'\t' | b' '..=b'~') if byte != b'\\' => self.counted(At::Quoted),
            (At::NameStart | At::Name, _) if is_token(byte) => self.counted(At::Name),
            (At::ValueStart | At::Value, _) if is_token(byte) => self.counted(At::Value),
            (
                At::SizeEnd
                | At::Data
                | At::DataReturn
                | At::DataEnd
                | At::NameStart
                | At::Name
                | At::ValueStart
                | At::Value
                | At::Quoted
                | At::Unquoted,
                _,
            ) => None,
        }
    }

    fn digit(&mut self, byte: u8) -> Option<At> {
        let digit = char::from(byte).to_digit(16)?;
        self.seen += 1;
        self.size = (self.size << 4) | u64::from(digit);
        (self.seen <= MOST_DIGITS).then_some(At::Size)
    }

    fn counted(&mut self, at: At) -> Option<At> {
        self.seen += 1;
        (self.seen <= MOST_EXTENSIONS).then_some(at)
    }
}

/// RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
