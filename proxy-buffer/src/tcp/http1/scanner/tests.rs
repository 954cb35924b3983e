//! Every framing, cut everywhere.

use proptest::prelude::*;

use super::*;

/// Everything found in `text`, read in pieces of `step` bytes.
fn found(side: Side, text: &str, step: usize) -> Vec<Found> {
    let mut scanner = Scanner::new(side);
    let mut found = Vec::new();
    for mut piece in text.as_bytes().chunks(step) {
        while let Some(next) = scanner.scan(&mut piece) {
            found.push(next);
        }
    }
    found
}

const GET: Found = Found::Head(Start::Request(Method::Other));

fn answer(status: u16) -> Found {
    Found::Head(Start::Answer { status })
}

#[test]
fn messages_end_where_their_framing_says_however_they_are_cut() {
    use Found::{End, Foreign};
    use Side::{Client, Server};
    let long = format!("GET /{} HTTP/1.1\r\nCookie: {0}\r\n\r\n", "x".repeat(5000));
    let cases: [(Side, &str, &[Found]); 16] = [
        (Client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[GET, End]),
        (Client, "\r\n\r\nGET / HTTP/1.0\n\n", &[GET, End]),
        (Client, &long, &[GET, End]),
        (
            Client,
            "HEAD / HTTP/1.1\r\n\r\nCONNECT a:1 HTTP/1.1\r\n\r\n",
            &[
                Found::Head(Start::Request(Method::Head)),
                End,
                Found::Head(Start::Request(Method::Connect)),
                End,
            ],
        ),
        (Client, "PUT / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab", &[GET]),
        (
            Client,
            "PUT / HTTP/1.1\r\nContent-Length:3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
            &[GET, End, GET, End],
        ),
        (
            Client,
            "PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
             5;a=b\r\nhe\r\nl\r\n0\r\nTrailer: x\r\n\r\n",
            &[GET, End],
        ),
        (
            Client,
            "PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            &[Foreign],
        ),
        (Client, "PUT / HTTP/1.1\r\nContent-Length: +3\r\n\r\n", &[Foreign]),
        (
            Client,
            "PUT / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            &[Foreign],
        ),
        (Client, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[Foreign]),
        (Client, "\u{16}\u{3}\u{1}", &[Foreign]),
        (Server, "HTTP/1.1 100 Continue\r\n\r\n", &[answer(100)]),
        (
            Server,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 404\r\nContent-Length: 0\r\n\r\n",
            &[answer(200), End, answer(404), End],
        ),
        (
            Server,
            "HTTP/1.0 200 OK\r\n\r\nHTTP/1.0 200 OK\r\n\r\n",
            &[answer(200)],
        ),
        (Server, "220 mail\r\n", &[Foreign]),
    ];
    for (side, text, expected) in cases {
        for step in [1, 2, 3, 7, 64 * 1024] {
            assert_eq!(found(side, text, step), expected, "{text:.60} in steps of {step}");
        }
    }
}

#[test]
fn a_message_is_open_from_its_first_byte_to_its_last() {
    let mut scanner = Scanner::new(Side::Client);
    let mut open = |text: &str| {
        let mut bytes = text.as_bytes();
        while scanner.scan(&mut bytes).is_some() {}
        (scanner.is_open(), scanner.is_in_head())
    };
    assert_eq!(open("\r\n"), (false, false));
    assert_eq!(open("P"), (true, true));
    assert_eq!(open("UT / HTTP/1.1\r\nContent-Length: 3\r\n\r"), (true, true));
    assert_eq!(open("\nab"), (true, false));
    assert_eq!(open("c"), (false, false));
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_their_end_and_little_is_kept(
        bytes in prop::collection::vec(prop::sample::select(&b"GET /HTP1.:0\r\n\x16chunked-length"[..]), 0..4000),
        cuts in prop::collection::vec(1_usize..300, 1..20),
        server in any::<bool>(),
    ) {
        let side = if server { Side::Server } else { Side::Client };
        let (mut scanner, mut whole) = (Scanner::new(side), Scanner::new(side));
        let (mut rest, mut cuts) = (&bytes[..], cuts.into_iter().cycle());
        let mut found = Vec::new();
        while !rest.is_empty() {
            let (mut piece, after) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            while let Some(next) = scanner.scan(&mut piece) {
                found.push(next);
            }
            prop_assert!(piece.is_empty() && scanner.line.len() <= LINE_BYTES);
            rest = after;
        }
        let mut all = &bytes[..];
        let at_once: Vec<_> = std::iter::from_fn(|| whole.scan(&mut all)).collect();
        prop_assert_eq!(found, at_once);
        prop_assert_eq!(scanner.part, whole.part);
    }
}
