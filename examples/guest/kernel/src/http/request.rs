//! The head of a request: what the server needs to know of it.

use super::Status;

/// Longest request line with headers, in bytes; longer ones get 431.
pub const MAX_HEAD_LEN: usize = 16 << 10;

const MAX_HEADERS: usize = 32;

/// A request without its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// The target up to the `?`.
    pub(super) path: &'a str,
    /// The target behind the `?`; empty if there is none.
    pub(super) query: &'a str,
    pub(super) body_len: u64,
    pub(super) connection: Connection,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

/// What becomes of the connection, and whether the reply has to say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// HTTP/1.1 without `close`.
    Stays,
    /// HTTP/1.0 with `keep-alive`.
    StaysIfSaid,
    Closes,
}

/// How far the head has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head<'a> {
    /// More bytes are needed.
    Partial,
    /// A whole head of this many bytes.
    Complete(Request<'a>, usize),
}

impl<'a> Head<'a> {
    /// Reads the head at the start of `input`.
    ///
    /// # Errors
    /// The status to answer, after which the connection must close.
    pub(super) fn parse(input: &'a [u8]) -> Result<Self, Status> {
        let Some(len) = end_of_head(input) else {
            return if input.len() < MAX_HEAD_LEN {
                Ok(Self::Partial)
            } else {
                Err(Status::HeadTooLarge)
            };
        };
        if len > MAX_HEAD_LEN {
            return Err(Status::HeadTooLarge);
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(&input[..len]) {
            Ok(httparse::Status::Complete(parsed_len)) if parsed_len == len => {}
            // A head that ends before or behind the first empty line has bare line feeds: who knows what a proxy
            // took it for.
            Ok(_) => return Err(Status::BadRequest),
            Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
            Err(httparse::Error::Version) => return Err(Status::VersionNotSupported),
            Err(_) => return Err(Status::BadRequest),
        }
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Status::BadRequest);
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Request {
            method,
            path,
            query,
            body_len: 0,
            connection: if version == 0 {
                Connection::Closes
            } else {
                Connection::Stays
            },
            expects_continue: false,
        };
        let mut hosts = 0;
        let mut body_len = None;
        for header in parsed.headers {
            if header.name.eq_ignore_ascii_case("host") {
                hosts += 1;
            } else if header.name.eq_ignore_ascii_case("content-length") {
                let len = content_length(header.value)?;
                if body_len.is_some_and(|other| other != len) {
                    return Err(Status::BadRequest);
                }
                body_len = Some(len);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(Status::LengthRequired);
            } else if header.name.eq_ignore_ascii_case("connection") {
                if lists(header.value, "close") {
                    request.connection = Connection::Closes;
                } else if version == 0 && lists(header.value, "keep-alive") {
                    request.connection = Connection::StaysIfSaid;
                }
            } else if header.name.eq_ignore_ascii_case("expect") && version == 1 {
                request.expects_continue = header.value.eq_ignore_ascii_case(b"100-continue");
            }
        }
        if version == 1 && hosts != 1 {
            return Err(Status::BadRequest);
        }
        request.body_len = body_len.unwrap_or(0);
        request.expects_continue &= request.body_len > 0;
        Ok(Self::Complete(request, len))
    }
}

/// Length of the head at the start of `input` with its final empty line, if that is there.
fn end_of_head(input: &[u8]) -> Option<usize> {
    let limit = input.len().min(MAX_HEAD_LEN + 1);
    input[..limit]
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// Digits only, as RFC 9110, section 8.6 has it: `parse` alone would accept a sign.
fn content_length(value: &[u8]) -> Result<u64, Status> {
    let digits = core::str::from_utf8(value).map_err(|_| Status::BadRequest)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Status::BadRequest);
    }
    digits.parse().map_err(|_| Status::BadRequest)
}

/// Whether a comma-separated `value` has `token`.
fn lists(value: &[u8], token: &str) -> bool {
    value
        .split(|&b| b == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Head<'_>, Status> {
        Head::parse(text.as_bytes())
    }

    fn complete(text: &str) -> Request<'_> {
        match parse(text) {
            Ok(Head::Complete(request, _)) => request,
            other => panic!("{text:?} gives {other:?}"),
        }
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
    fn the_version_decides_what_a_silent_client_wants() {
        assert_eq!(complete("GET / HTTP/1.0\r\n\r\n").connection, Connection::Closes);
        let kept = complete("GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n");
        assert_eq!(kept.connection, Connection::StaysIfSaid);
        let closed = complete("GET / HTTP/1.1\r\nHost: a\r\nconnection: CLOSE\r\n\r\n");
        assert_eq!(closed.connection, Connection::Closes);
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
    fn what_must_not_be_guessed_is_refused() {
        let head = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
        for (lines, status) in [
            ("Content-Length: +3", Status::BadRequest),
            ("Content-Length: ", Status::BadRequest),
            ("Content-Length: 3\r\nContent-Length: 4", Status::BadRequest),
            ("Content-Length: 99999999999999999999", Status::BadRequest),
            (
                "Content-Length: 3\r\nTransfer-Encoding: chunked",
                Status::LengthRequired,
            ),
            ("Host: b", Status::BadRequest),
            ("no colon", Status::BadRequest),
            ("a: b\n\nGET / HTTP/1.1", Status::BadRequest),
        ] {
            assert_eq!(parse(&head(lines)), Err(status), "{lines}");
        }
        assert_eq!(
            parse("GET / HTTP/1.1\r\n\r\n"),
            Err(Status::BadRequest),
            "no host"
        );
        assert_eq!(
            parse("GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
            Err(Status::VersionNotSupported)
        );
        assert_eq!(parse("\0\0\0\0\r\n\r\n"), Err(Status::BadRequest));
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
        let many = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "x: y\r\n".repeat(MAX_HEADERS)
        );
        assert_eq!(parse(&many), Err(Status::HeadTooLarge));
    }
}
