//! The head of a request: what the server needs to know of it.

use super::Status;

/// Longest request line with headers, in bytes; longer ones get 431, or 414 if the line alone is too long.
pub const MAX_HEAD_LEN: usize = 16 << 10;

const MAX_HEADERS: usize = 32;
/// Longest body: one more byte could not be told from a negative length by everybody.
const MAX_BODY_LEN: u64 = u64::MAX >> 1;

/// A request without its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// The target's path: without scheme, authority and query.
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
    /// Reads the head at the start of `input`. What cannot become a head is refused as soon as that shows and not only
    /// at its end, which may never come: a TLS client, for one, waits for an answer to its first bytes.
    ///
    /// # Errors
    /// The status to answer, after which the connection must close.
    pub(super) fn parse(input: &'a [u8]) -> Result<Self, Status> {
        let input = input.get(..MAX_HEAD_LEN).unwrap_or(input);
        let end = end_of_head(input)?;
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(end.and_then(|len| input.get(..len)).unwrap_or(input)) {
            Ok(httparse::Status::Complete(len)) if Some(len) == end => {}
            Ok(httparse::Status::Partial) if end.is_none() => return wait_for_more(input),
            Ok(_) => return Err(Status::BadRequest),
            Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
            Err(httparse::Error::Version) if names_http(input) => return Err(Status::VersionNotSupported),
            Err(_) => return Err(Status::BadRequest),
        }
        let (Some(method), Some(target), Some(version), Some(len)) =
            (parsed.method, parsed.path, parsed.version, end)
        else {
            return Err(Status::BadRequest);
        };
        let (path, query) = split(target)?;
        let fields = Fields::read(parsed.headers)?;
        let body_len = fields.body_len(version)?;
        if fields.hosts > 1 || (fields.hosts == 0 && version == 1) {
            return Err(Status::BadRequest);
        }
        let connection = match version {
            _ if fields.close => Connection::Closes,
            0 if fields.keep_alive => Connection::StaysIfSaid,
            0 => Connection::Closes,
            _ => Connection::Stays,
        };
        let request = Request {
            method,
            path,
            query,
            body_len,
            connection,
            expects_continue: fields.expects_continue && version == 1 && body_len > 0,
        };
        Ok(Self::Complete(request, len))
    }
}

/// The header fields that a server must not overlook.
#[derive(Default)]
struct Fields {
    hosts: u32,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    content_length: Option<u64>,
    coding: Option<Coding>,
}

/// What `Transfer-Encoding` says.
#[derive(Clone, Copy)]
enum Coding {
    /// `chunked`, once and alone.
    Chunked,
    Other,
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>]) -> Result<Self, Status> {
        let mut fields = Self::default();
        for header in headers {
            let (name, value) = (header.name, header.value);
            if name.eq_ignore_ascii_case("host") {
                fields.hosts += 1;
                if !value.iter().all(|&byte| is_of_authority(byte)) {
                    return Err(Status::BadRequest);
                }
            } else if name.eq_ignore_ascii_case("content-length") {
                if fields.content_length.is_some() {
                    return Err(Status::BadRequest);
                }
                fields.content_length = Some(content_length(value)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                let alone = fields.coding.is_none() && value.eq_ignore_ascii_case(b"chunked");
                fields.coding = Some(if alone { Coding::Chunked } else { Coding::Other });
            } else if name.eq_ignore_ascii_case("connection") {
                fields.close |= lists(value, "close");
                fields.keep_alive |= lists(value, "keep-alive");
            } else if name.eq_ignore_ascii_case("expect") {
                fields.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
        }
        Ok(fields)
    }

    /// The body's length. Where a proxy in front may have understood another one (RFC 9112, section 6), there is none.
    fn body_len(&self, version: u8) -> Result<u64, Status> {
        match (self.coding, self.content_length) {
            (None, len) => Ok(len.unwrap_or(0)),
            (Some(_), Some(_)) => Err(Status::BadRequest),
            (Some(_), None) if version == 0 => Err(Status::BadRequest),
            (Some(Coding::Chunked), None) => Err(Status::LengthRequired),
            (Some(Coding::Other), None) => Err(Status::NotImplemented),
        }
    }
}

/// Length of the head at the start of `input` with its final empty line, if that is there. Lines end with CR LF and
/// nothing else: who knows where a proxy in front saw the end of one that does not (RFC 9112, section 2.2).
fn end_of_head(input: &[u8]) -> Result<Option<usize>, Status> {
    let (mut line, mut previous) = (0, 0);
    for (at, &byte) in input.iter().enumerate() {
        if (byte == b'\n') != (previous == b'\r') {
            return Err(Status::BadRequest);
        }
        if byte == b'\n' {
            if at == line + 1 {
                return Ok(Some(at + 1));
            }
            line = at + 1;
        }
        previous = byte;
    }
    Ok(None)
}

/// What an unfinished head of `input` comes to.
fn wait_for_more(input: &[u8]) -> Result<Head<'_>, Status> {
    if input.len() < MAX_HEAD_LEN {
        Ok(Head::Partial)
    } else if input.contains(&b'\n') {
        Err(Status::HeadTooLarge)
    } else {
        Err(Status::UriTooLong)
    }
}

/// Whether the third word of the request line is a version of HTTP, if not one of ours.
fn names_http(input: &[u8]) -> bool {
    let mut words = input.split(|&byte| byte == b' ');
    words.nth(2).is_some_and(|word| word.starts_with(b"HTTP/"))
}

/// Path and query of a target in origin form, in absolute form (whose authority is not asked for: everything is ours),
/// or of `*`.
fn split(target: &str) -> Result<(&str, &str), Status> {
    const SCHEME: &str = "http://";
    let is_absolute = target
        .get(..SCHEME.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SCHEME));
    let local = if is_absolute {
        let rest = target.get(SCHEME.len()..).unwrap_or_default();
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, local) = rest.split_at(authority_len);
        if authority.is_empty() || !authority.bytes().all(is_of_authority) {
            return Err(Status::BadRequest);
        }
        local
    } else if target.starts_with('/') || target == "*" {
        target
    } else {
        return Err(Status::BadRequest);
    };
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    Ok((if path.is_empty() { "/" } else { path }, query))
}

/// Whether `byte` may be in a host with a port (RFC 3986, section 3.2).
fn is_of_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// Digits only, as RFC 9110, section 8.6 has it: `parse` alone would accept a sign.
fn content_length(value: &[u8]) -> Result<u64, Status> {
    let digits = core::str::from_utf8(value).map_err(|_| Status::BadRequest)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Status::BadRequest);
    }
    let len = digits.parse().ok().filter(|&len| len <= MAX_BODY_LEN);
    len.ok_or(Status::BadRequest)
}

/// Whether a comma-separated `value` has `token`.
fn lists(value: &[u8], token: &str) -> bool {
    value
        .split(|&b| b == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests;
