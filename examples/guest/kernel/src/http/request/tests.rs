use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Head<'_>, Status> {
    Head::parse(text.as_bytes())
}

fn complete(text: &str) -> Request<'_> {
    match parse(text) {
        Ok(Head::Complete(request, _)) => request,
        other => panic!("{text:?} gives {other:?}"),
    }
}

/// A `POST` with these header lines.
fn post(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

#[test]
fn target_splits_at_the_first_question_mark() {
    let request = complete("GET /burn?ms=5?x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        (request.method, request.path, request.query),
        ("GET", "/burn", "ms=5?x")
    );
    assert_eq!(request.connection, Connection::Stays);
}

#[test]
fn absolute_targets_are_as_good_as_others() {
    for (target, path, query) in [
        ("http://guest/count", "/count", ""),
        ("HTTP://[::1]:80/burn?ms=1", "/burn", "ms=1"),
        ("http://guest", "/", ""),
        ("http://guest?q", "/", "q"),
        ("*", "*", ""),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let request = complete(&text);
        assert_eq!((request.path, request.query), (path, query), "{target}");
    }
    for target in [
        "count",
        "http://",
        "http:///count",
        "https://guest/",
        "http://a@b/",
        "guest:80",
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(parse(&text), Err(Status::BadRequest), "{target}");
    }
}

#[test]
fn the_version_decides_what_a_silent_client_wants() {
    assert_eq!(complete("GET / HTTP/1.0\r\n\r\n").connection, Connection::Closes);
    let kept = complete("GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n");
    assert_eq!(kept.connection, Connection::StaysIfSaid);
    let closed = complete("GET / HTTP/1.1\r\nHost: a\r\nconnection: CLOSE\r\n\r\n");
    assert_eq!(closed.connection, Connection::Closes);
    let closed = complete("GET / HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(closed.connection, Connection::Closes, "close wins");
}

#[test]
fn heads_arrive_in_pieces() {
    let text = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let head_len = text.len() - 3;
    for cut in 0..head_len {
        assert_eq!(parse(&text[..cut]), Ok(Head::Partial));
    }
    assert!(
        matches!(parse(text), Ok(Head::Complete(request, len)) if request.body_len == 3 && len == head_len)
    );
}

#[test]
fn what_cannot_become_a_request_is_refused_at_once() {
    for start in [
        &b"\x16"[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"\0",
        b"\n",
        b" GET",
        b"\rG",
        b"\x80",
        b"GET\t/",
        b"G\x01",
        b"GET /\x7f",
        b"GET / HTTX",
        b"GET  /",
        b"GET / HTTP/1.1\r\nHost : a",
        b"GET / HTTP/1.1\r\n folded",
    ] {
        assert_eq!(
            Head::parse(start),
            Err(Status::BadRequest),
            "{}",
            start.escape_ascii()
        );
    }
    assert_eq!(Head::parse(b"GET / HTTP/2"), Err(Status::VersionNotSupported));
    assert_eq!(
        Head::parse(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Err(Status::VersionNotSupported)
    );
}

#[test]
fn lines_end_with_cr_lf_and_nothing_else() {
    for text in [
        "GET / HTTP/1.1\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\rX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
    ] {
        assert_eq!(parse(text), Err(Status::BadRequest), "{text:?}");
    }
}

#[test]
fn a_body_has_one_length_that_everybody_understands() {
    assert_eq!(complete(&post("Content-Length: 007")).body_len, 7);
    assert_eq!(
        complete(&post("Content-Length: 9223372036854775807")).body_len,
        MAX_BODY_LEN
    );
    for (lines, status) in [
        ("Content-Length: +3", Status::BadRequest),
        ("Content-Length: -3", Status::BadRequest),
        ("Content-Length: 0x3", Status::BadRequest),
        ("Content-Length: 3, 3", Status::BadRequest),
        ("Content-Length: 3 3", Status::BadRequest),
        ("Content-Length: ", Status::BadRequest),
        ("Content-Length: 3\r\nContent-Length: 4", Status::BadRequest),
        ("Content-Length: 3\r\nContent-Length: 3", Status::BadRequest),
        ("Content-Length: 9223372036854775808", Status::BadRequest),
        ("Content-Length: 99999999999999999999", Status::BadRequest),
        (
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            Status::BadRequest,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            Status::BadRequest,
        ),
        ("Transfer-Encoding: Chunked", Status::LengthRequired),
        ("Transfer-Encoding: gzip, chunked", Status::NotImplemented),
        ("Transfer-Encoding: identity", Status::NotImplemented),
        ("Transfer-Encoding: xchunked", Status::NotImplemented),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            Status::NotImplemented,
        ),
    ] {
        assert_eq!(parse(&post(lines)), Err(status), "{lines}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        parse(old),
        Err(Status::BadRequest),
        "HTTP/1.0 has no transfer codings"
    );
}

#[test]
fn there_is_one_host_and_it_is_one() {
    for host in ["", "a", "a:80", "10.0.2.15:80", "[::1]:80", "x_y.example"] {
        complete(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    for host in ["a b", "a/b", "u@a", "a?b", "a#b", "\"a\"", "a\\b"] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(parse(&text), Err(Status::BadRequest), "{host}");
    }
    assert_eq!(
        parse("GET / HTTP/1.1\r\n\r\n"),
        Err(Status::BadRequest),
        "no host"
    );
    assert_eq!(parse(&post("Host: a")), Err(Status::BadRequest), "two hosts");
    let two = "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n";
    assert_eq!(parse(two), Err(Status::BadRequest), "two hosts in HTTP/1.0");
}

#[test]
fn malformed_heads_are_refused() {
    for lines in [
        "no colon",
        "a : b",
        ": b",
        "a: b\r\n folded",
        "a\x01: b",
        "a: b\0",
        "a: \x07",
        "a b: c",
    ] {
        assert_eq!(parse(&post(lines)), Err(Status::BadRequest), "{lines:?}");
    }
    for line in [
        "GET /a b HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET /",
        "GET",
        "/ HTTP/1.1",
        "GET / http/1.1",
    ] {
        let text = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(parse(&text), Err(Status::BadRequest), "{line}");
    }
    let next = parse("GET / HTTP/2.0\r\nHost: a\r\n\r\n");
    assert_eq!(next, Err(Status::VersionNotSupported));
}

#[test]
fn long_heads_are_refused_however_they_arrive() {
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(MAX_HEAD_LEN)
    );
    assert_eq!(parse(&long), Err(Status::HeadTooLarge));
    assert_eq!(parse(&long[..MAX_HEAD_LEN]), Err(Status::HeadTooLarge));
    assert_eq!(parse(&long[..MAX_HEAD_LEN - 1]), Ok(Head::Partial));
    let fits = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(MAX_HEAD_LEN - 32)
    );
    assert_eq!(fits.len(), MAX_HEAD_LEN);
    complete(&fits);
    let target = format!("GET /{}", "x".repeat(MAX_HEAD_LEN));
    assert_eq!(parse(&target), Err(Status::UriTooLong));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "x: y\r\n".repeat(MAX_HEADERS)
    );
    assert_eq!(parse(&many), Err(Status::HeadTooLarge));
}

proptest! {
    #[test]
    fn what_is_refused_early_would_have_been_refused_in_the_end(
        text in "(GET|POST|G@T) (/|/x|a b|http://a/) HTTP/(1[.]1|1[.]0|2[.]0)(\r\n|\n|\r)(Host: a\r\n){0,2}([ a-c:\r\n]{0,8})\r\n\r\n"
    ) {
        let early = (0..text.len()).find_map(|cut| Head::parse(&text.as_bytes()[..cut]).err());
        if early.is_some() {
            prop_assert!(parse(&text).is_err(), "{text:?} gives {early:?} in part and is accepted as a whole");
        }
    }
}
