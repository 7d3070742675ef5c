use std::cell::Cell;
use std::convert::Infallible;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn judge(wire: &[u8]) -> Result<Stage, usize> {
    let mut screen = Screen::default();
    screen.feed(wire).map(|()| screen.stage()).map_err(|refused| refused.at)
}

/// The same in pieces: the verdict, and where it came.
fn judge_in(pieces: &[&[u8]]) -> Result<Stage, usize> {
    let mut screen = Screen::default();
    let mut before = 0;
    for piece in pieces {
        screen.feed(piece).map_err(|refused| before + refused.at)?;
        before += piece.len();
    }
    Ok(screen.stage())
}

const GOOD: [&str; 14] = [
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.0\r\nhost: x\r\n\r\n",
    "\r\nGET /a?b=%20c HTTP/1.1\r\nhost: x\r\nx-empty:\r\nx-odd:\t\u{e4} \r\n\r\n",
    "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\nContent-Length:5\r\n\r\na\nb\0cGET / HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\ncontent-length: \t 0000000000000000005  \r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\nTRANSFER-ENCODING: Chunked\r\n\r\n5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\n\r\n0\r\nx-sum: 1\r\nx: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;a;b=c;d=\"e f;\"\r\nhello\r\n0;last\r\n\r\n",
    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\ncontent-lengthy: +5\r\ntransfer-encodings: x\r\nx-content-length: a\r\n\r\n",
    "POST / HTTP/1.1\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\nxGET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\ncontent-length-and-more-of-a-name-that-is-longer-than-any-line-that-is-judged: 1\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\n\r\n",
];

#[test]
fn what_everybody_reads_alike_passes() {
    for wire in GOOD {
        assert_eq!(judge(wire.as_bytes()), Ok(Stage::Between), "{wire:?}");
    }
}

/// Heads, each with the bytes of it that still pass.
const BAD_HEADS: [(&str, &str); 27] = [
    ("GET / HTTP/1.1\n", "GET / HTTP/1.1"),
    ("GET / HTTP/1.1\r\nhost: x\n\r\n", "GET / HTTP/1.1\r\nhost: x"),
    ("GET / HTTP/1.1\r\nhost: x\r\n\n", "GET / HTTP/1.1\r\nhost: x\r\n"),
    ("\n", ""),
    ("\r\n\r\n", "\r\n\r"),
    ("GET /#x HTTP/1.1\r\n", "GET /"),
    ("GET /\u{e4} HTTP/1.1\r\n", "GET /"),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r"),
    ("GET / HTTP/1.1\r\n x: y\r\n", "GET / HTTP/1.1\r\n x: y\r"),
    ("GET / HTTP/1.1\r\nx: y\r\n\tz\r\n", "GET / HTTP/1.1\r\nx: y\r\n\tz\r"),
    ("A\r\ncontent-length: 5\r\ncontent-length: 5\r\n", "A\r\ncontent-length: 5\r\ncontent-length: 5\r"),
    (
        "A\r\ncontent-length: 5\r\nx: y\r\nContent-Length: 6\r\n",
        "A\r\ncontent-length: 5\r\nx: y\r\nContent-Length: 6\r",
    ),
    ("A\r\ncontent-length: 5, 5\r\n", "A\r\ncontent-length: 5, 5\r"),
    ("A\r\ncontent-length: +5\r\n", "A\r\ncontent-length: +5\r"),
    ("A\r\ncontent-length: -0\r\n", "A\r\ncontent-length: -0\r"),
    ("A\r\ncontent-length:\r\n", "A\r\ncontent-length:\r"),
    ("A\r\ncontent-length: 5 5\r\n", "A\r\ncontent-length: 5 5\r"),
    ("A\r\ncontent-length: 10000000000000000000\r\n", "A\r\ncontent-length: 10000000000000000000\r"),
    ("A\r\ncontent_length: 5\r\n", "A\r\ncontent_length: 5\r"),
    ("A\r\nTransfer_Encoding: chunked\r\n", "A\r\nTransfer_Encoding: chunked\r"),
    ("A\r\ntransfer-encoding: \r\n", "A\r\ntransfer-encoding: \r"),
    ("A\r\ntransfer-encoding: gzip, chunked\r\n", "A\r\ntransfer-encoding: gzip, chunked\r"),
    ("A\r\ntransfer-encoding: chunked, chunked\r\n", "A\r\ntransfer-encoding: chunked, chunked\r"),
    ("A\r\ntransfer-encoding: identity\r\n", "A\r\ntransfer-encoding: identity\r"),
    (
        "A\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "A\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r",
    ),
    (
        "A\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "A\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r",
    ),
    (
        "A\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n",
        "A\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r",
    ),
];

/// What comes after the head of a request in chunks, in the same way.
const BAD_CHUNKS: [(&str, &str); 36] = [
    ("\r", ""),
    ("\n", ""),
    (" ", ""),
    (";", ""),
    ("0x5\r\n", "0"),
    ("+5\r\n", ""),
    ("-5\r\n", ""),
    ("5 \r\n", "5"),
    ("5\t;a\r\n", "5"),
    ("5 5\r\n", "5"),
    ("5\n", "5"),
    ("5\r5", "5\r"),
    ("5\r\r\n", "5\r"),
    ("g\r\n", ""),
    ("00000000000000005\r\n", "0000000000000000"),
    ("fffffffffffffffff\r\n", "ffffffffffffffff"),
    ("1\r\nab", "1\r\na"),
    ("1\r\na\n", "1\r\na"),
    ("1\r\na\rb", "1\r\na\r"),
    ("1\r\na\r\n\r\n", "1\r\na\r\n"),
    ("5;\r\n", "5;"),
    ("5;;a\r\n", "5;"),
    ("5;a;\r\n", "5;a;"),
    ("5; a\r\n", "5;"),
    ("5;a =b\r\n", "5;a"),
    ("5;a=\r\n", "5;a="),
    ("5;a=b=c\r\n", "5;a=b"),
    ("5;a\n", "5;a"),
    ("5;a\r5", "5;a\r"),
    ("5;a=\"\r\n\"", "5;a=\""),
    ("5;a=\"\n", "5;a=\""),
    ("5;a=\"\\\"\r\n", "5;a=\""),
    ("5;a=\"b\"c", "5;a=\"b\""),
    ("5;a=\0", "5;a="),
    ("0\r\nx: y\n", "0\r\nx: y"),
    ("0\r\ncontent-length: 5\r\n", "0\r\ncontent-length: 5\r"),
];

const CHUNKED: &str = "A\r\ntransfer-encoding: chunked\r\n\r\n";

#[test]
fn what_can_be_read_in_two_ways_is_refused_where_it_begins() {
    for (wire, passes) in BAD_HEADS {
        assert_eq!(judge(wire.as_bytes()), Err(passes.len()), "{wire:?}");
    }
    for (chunk, passes) in BAD_CHUNKS {
        let wire = format!("{CHUNKED}{chunk}");
        assert_eq!(judge(wire.as_bytes()), Err(CHUNKED.len() + passes.len()), "{chunk:?}");
    }
    for trailer in [" folded: 1", "transfer-encoding: chunked", "content-length: 5, 5", "Content_Length: 5"] {
        assert!(judge(format!("{CHUNKED}0\r\n{trailer}\r\n").as_bytes()).is_err(), "{trailer}");
    }
    let long = format!("{CHUNKED}5;{}\r\n", "x".repeat(257));
    assert!(judge(long.as_bytes()).is_err());
    for name in ["content-length", "transfer-encoding"] {
        let far = format!("A\r\n{name}:{}5\r\n", " ".repeat(100));
        assert!(judge(far.as_bytes()).is_err(), "{name}");
    }
}

#[test]
fn a_handshake_is_followed_by_whatever_it_comes_to() {
    let mut screen = Screen::default();
    for more in ["", "content-length: 0\r\n"] {
        screen.feed(format!("GET / HTTP/1.1\r\nUpgrade: x\r\n{more}\r\n").as_bytes()).unwrap();
        assert_eq!((screen.stage(), screen.is_early()), (Stage::Switching, false));
        screen.feed(b"\n\0 early").unwrap();
        assert_eq!((screen.stage(), screen.is_early()), (Stage::Switching, true));
        screen.stayed();
        assert_eq!(screen.stage(), Stage::Between);
    }
    assert_eq!(screen.heads(), 2);
    assert!(screen.feed(b"\n").is_err());
}

#[test]
fn the_stage_is_known_at_every_byte() {
    let mut screen = Screen::default();
    let wire = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nab";
    for (at, byte) in wire.iter().enumerate() {
        let expected = match at {
            0 => Stage::Between,
            1..38 => Stage::Head,
            _ => Stage::Body,
        };
        assert_eq!(screen.stage(), expected, "{at}");
        screen.feed(&[*byte]).unwrap();
    }
    assert_eq!(screen.stage(), Stage::Between);
}

/// Texts with much of what matters in them.
fn wires() -> impl Strategy<Value = Vec<u8>> {
    let bits = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r",
        "\n",
        "content-length:",
        "transfer-encoding:",
        " chunked",
        "5",
        "0",
        "a",
        ";",
        "=",
        "\"",
        " ",
        "\t",
        "\0",
        "upgrade: x",
        "x: y",
        "hello",
        "#",
        "\u{e4}",
        ":",
        ",",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n",
    ]);
    let random = prop::collection::vec(bits, 0..24).prop_map(|bits| bits.concat().into_bytes());
    let good = prop::collection::vec(prop::sample::select(GOOD.to_vec()), 0..4).prop_map(|all| all.concat());
    (good, random).prop_map(|(good, random)| [good.into_bytes(), random].concat())
}

/// How many whole requests hyper finds, and what it says.
fn in_hyper(wire: &[u8]) -> (u32, String) {
    let found = Cell::new(0);
    let service = hyper::service::service_fn(async |request: Request<Incoming>| {
        let whole = request.into_body().collect().await.is_ok();
        found.set(found.get() + u32::from(whole));
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let mut said = Vec::new();
    let talk = async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut http = hyper::server::conn::http1::Builder::new();
        let serving =
            http.half_close(true).header_read_timeout(None).serve_connection(TokioIo::new(server), service);
        client.write_all(wire).await.unwrap();
        client.shutdown().await.unwrap();
        let (_, read) = tokio::join!(serving, client.read_to_end(&mut said));
        read.unwrap();
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(talk);
    (found.get(), String::from_utf8(said).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_verdict_does_not_depend_on_where_reads_end(wire in wires(), cuts in prop::collection::vec(0..400_usize, 0..8)) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(wire.len())).collect();
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([wire.len()]);
        let begins = [0].into_iter().chain(cuts.iter().copied());
        let pieces: Vec<&[u8]> = begins.zip(ends).map(|(from, to)| &wire[from..to]).collect();
        prop_assert_eq!(judge(&wire), judge_in(&pieces));
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        prop_assert_eq!(judge(&wire), judge_in(&bytes));
    }

    #[test]
    fn hyper_ends_requests_where_the_screen_does(wire in wires()) {
        let mut screen = Screen::default();
        let passes = screen.feed(&wire).is_ok() && screen.stage() == Stage::Between;
        let is_old = memchr::memmem::find(&wire, b"HTTP/1.0").is_some();
        if passes && !is_old {
            let (found, said) = in_hyper(&wire);
            prop_assert!(found == screen.heads() || said.contains("HTTP/1.1 4"), "{found} {} {said}", screen.heads());
            prop_assert!(found <= screen.heads());
        }
    }

    #[test]
    fn a_well_formed_request_passes(
        method in "[A-Z]{1,8}",
        target in "/[!$-~]{0,200}",
        fields in prop::collection::vec(("[a-z][a-z0-9_-]{0,20}x", "[ -~\t]{0,80}"), 0..20),
        body in prop::collection::vec(any::<u8>(), 0..200),
        chunks in any::<bool>(),
    ) {
        let mut wire = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n").into_bytes();
        for (name, value) in fields {
            wire.extend(format!("{name}: {value}\r\n").bytes());
        }
        if chunks {
            wire.extend(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in body.chunks(60) {
                wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\n");
        } else {
            wire.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
            wire.extend(&body);
        }
        prop_assert_eq!(judge(&wire), Ok(Stage::Between));
        prop_assert_eq!(judge(&[wire.clone(), wire].concat()), Ok(Stage::Between));
    }
}
