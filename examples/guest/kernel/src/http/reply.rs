//! The head of a reply.

use alloc::vec::Vec;

use super::request::Connection;
use crate::decimal;

/// The statuses this server gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 200
    Ok,
    /// 400
    BadRequest,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408: the client has taken too long to send its request.
    RequestTimeout,
    /// 411: bodies need a `Content-Length` here.
    LengthRequired,
    /// 414
    UriTooLong,
    /// 431
    HeadTooLarge,
    /// 501: a transfer coding that nobody knows here.
    NotImplemented,
    /// 505
    VersionNotSupported,
    /// 507: not so much memory.
    InsufficientStorage,
}

impl Status {
    /// Code and reason phrase.
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::LengthRequired => "411 Length Required",
            Self::UriTooLong => "414 URI Too Long",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
            Self::InsufficientStorage => "507 Insufficient Storage",
        }
    }
}

/// The head of a reply and how it treats its body.
pub(super) struct Reply {
    pub(super) status: Status,
    pub(super) json: bool,
    pub(super) allow: Option<&'static str>,
    pub(super) connection: Connection,
}

impl Reply {
    /// Appends the head of a reply with `body_len` bytes of body.
    pub(super) fn write_head(&self, out: &mut Vec<u8>, body_len: u64) {
        let kind = if self.json {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        };
        // Formatting by `core::fmt` would have a wake fault in two more pages of code.
        let mut digits = [0; 20];
        for part in [
            "HTTP/1.1 ",
            self.status.line(),
            "\r\nContent-Type: ",
            kind,
            "\r\nContent-Length: ",
        ] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(decimal(body_len, &mut digits));
        out.extend_from_slice(b"\r\n");
        if let Some(methods) = self.allow {
            for part in ["Allow: ", methods, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.extend_from_slice(match self.connection {
            Connection::Stays => b"\r\n",
            Connection::StaysIfSaid => b"Connection: keep-alive\r\n\r\n",
            Connection::Closes => b"Connection: close\r\n\r\n",
        });
    }

    /// Appends a whole reply that names its status.
    pub(super) fn write_error(&self, out: &mut Vec<u8>, without_body: bool) {
        let line = self.status.line();
        let len = line.len() + 1;
        self.write_head(out, u64::try_from(len).unwrap_or(u64::MAX));
        if !without_body {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_what_follows_and_what_becomes_of_the_connection() {
        let mut out = Vec::new();
        let mut reply = Reply {
            status: Status::Ok,
            json: false,
            allow: None,
            connection: Connection::Stays,
        };
        reply.write_head(&mut out, 3);
        let text = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(out, text.as_bytes());
        out.clear();
        reply = Reply {
            status: Status::MethodNotAllowed,
            json: false,
            allow: Some("GET"),
            connection: Connection::Closes,
        };
        reply.write_error(&mut out, false);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(
            "Content-Length: 23\r\nAllow: GET\r\nConnection: close\r\n\r\n405 Method Not Allowed\n"
        ));
    }
}
