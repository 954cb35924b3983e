//! Finds where messages begin and end in bytes that pass by (RFC 9112, sections 2 and 6). It changes and keeps none of them
//! but a line that is split between two reads.

/// Longest part of a line that is kept. Every field that matters fits; of a longer line only the beginning is looked at.
const LINE_BYTES: usize = 1024;

/// Which messages to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// What a message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Request(Method),
    Answer { status: u16 },
}

/// The methods that change where an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Connect,
    Other,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
    /// Only of an answer: it ends with the stream.
    UntilEnd,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A head is complete. [`Scanner::expect`] may correct what it says of the body.
    Head(Start),
    /// The message is complete.
    End,
    /// This is not HTTP/1. Everything after it is skipped.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Start,
    Fields(Start, Framing),
    Body(Body),
    /// Data of a chunk with the line end after it.
    ChunkData(u64),
    Trailers,
    Foreign,
}

/// What the fields so far say of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Framing {
    length: Option<u64>,
    coding: Option<Coding>,
    expects_continue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    /// Of a request that is an error (RFC 9112, section 6.3); an answer ends with the stream.
    Other,
}

/// Reads one direction of a connection.
#[derive(Debug)]
pub(super) struct Scanner {
    side: Side,
    part: Part,
    /// The beginning of a line that has not ended yet.
    line: Vec<u8>,
    /// The client may keep its body back until it is told to go on.
    hesitates: bool,
    clear: bool,
}

impl Scanner {
    pub(super) const fn new(side: Side) -> Self {
        Self {
            side,
            part: Part::Start,
            line: Vec::new(),
            hesitates: false,
            clear: true,
        }
    }

    /// Whether a client waits to be told to send its body (RFC 9110, section 10.1.1), and has sent none of it.
    pub(super) fn hesitates(&self) -> bool {
        self.hesitates
    }

    /// The client has been told whether to send its body.
    pub(super) fn told(&mut self) {
        self.hesitates = false;
    }

    /// Whether nothing was read since the last message.
    pub(super) fn is_between(&self) -> bool {
        self.part == Part::Start && self.line.is_empty()
    }

    /// Whether a message has begun and not ended. An empty line is none, nor is half of one.
    pub(super) fn is_open(&self) -> bool {
        match self.part {
            Part::Start => !self.line.is_empty() && self.line != b"\r",
            Part::Foreign => false,
            Part::Fields(..) | Part::Body(_) | Part::ChunkData(_) | Part::Trailers => true,
        }
    }

    /// Whether the head of a message has begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        self.is_open() && matches!(self.part, Part::Start | Part::Fields(..))
    }

    /// Whether all so far was such that nobody can read it in another way: a server may wait for more where this found an end.
    pub(super) const fn is_clear(&self) -> bool {
        self.clear
    }

    /// Reads no message any more.
    pub(super) fn stop(&mut self) {
        self.clear &= !self.is_open();
        self.part = Part::Foreign;
        self.line = Vec::new();
        self.hesitates = false;
    }

    /// Corrects, right after a head was found, what follows it.
    pub(super) fn expect(&mut self, body: Body) {
        self.part = Part::Body(body);
    }

    /// Reads on in `bytes`, up to the next thing that matters; `None` when all were read.
    pub(super) fn scan(&mut self, bytes: &mut &[u8]) -> Option<Found> {
        self.hesitates &= bytes.is_empty();
        loop {
            match self.part {
                Part::Body(Body::Length(0)) => {
                    self.part = Part::Start;
                    return Some(Found::End);
                }
                Part::Body(Body::Length(left)) => {
                    let left = skip(bytes, left);
                    self.part = Part::Body(Body::Length(left));
                    if left > 0 {
                        return None;
                    }
                }
                Part::ChunkData(left) => {
                    let left = skip(bytes, left);
                    self.part = match left {
                        0 => Part::Body(Body::Chunked),
                        _ => Part::ChunkData(left),
                    };
                    if left > 0 {
                        return None;
                    }
                }
                Part::Body(Body::UntilEnd) | Part::Foreign => {
                    *bytes = &[];
                    return None;
                }
                Part::Start | Part::Fields(..) | Part::Body(Body::Chunked) | Part::Trailers => {
                    let Some(found) = self.scan_line(bytes)? else {
                        continue;
                    };
                    if found == Found::Foreign {
                        self.stop();
                        self.clear = false;
                    }
                    return Some(found);
                }
            }
        }
    }

    /// Reads one line. `None`: it does not end here. `Some(None)`: nothing was found in it.
    fn scan_line(&mut self, bytes: &mut &[u8]) -> Option<Option<Found>> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            let room = LINE_BYTES.saturating_sub(self.line.len()).min(bytes.len());
            self.line.extend_from_slice(bytes.get(..room)?);
            *bytes = &[];
            // What cannot become a start line is not waited for.
            let foreign = self.part == Part::Start && !may_start(self.side, &self.line);
            return foreign.then_some(Some(Found::Foreign));
        };
        let (line, rest) = bytes.split_at(end);
        *bytes = rest.get(1..).unwrap_or_default();
        // One that is too long to be kept may have ended rightly.
        let last = line.last().or_else(|| self.line.last());
        self.clear &= last == Some(&b'\r') || (line.is_empty() && self.line.len() == LINE_BYTES);
        // However it is cut, no more of it is looked at.
        let line = line.get(..LINE_BYTES).unwrap_or(line);
        if self.line.is_empty() {
            return Some(self.end_line(line));
        }
        let mut whole = std::mem::take(&mut self.line);
        let room = LINE_BYTES.saturating_sub(whole.len()).min(line.len());
        whole.extend_from_slice(line.get(..room).unwrap_or_default());
        Some(self.end_line(&whole))
    }

    fn end_line(&mut self, line: &[u8]) -> Option<Found> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.part {
            // An empty line before a message is skipped (RFC 9112, section 2.2).
            Part::Start if line.is_empty() => None,
            Part::Start => {
                let Some(start) = start(self.side, line) else {
                    return Some(Found::Foreign);
                };
                self.part = Part::Fields(start, Framing::default());
                None
            }
            Part::Fields(start, framing) if line.is_empty() => {
                let Some(body) = framing.body(self.side) else {
                    return Some(Found::Foreign);
                };
                self.part = Part::Body(body);
                self.hesitates =
                    self.side == Side::Client && framing.expects_continue && body != Body::Length(0);
                Some(Found::Head(start))
            }
            Part::Fields(start, framing) => {
                let Some(framing) = framing.with(line) else {
                    return Some(Found::Foreign);
                };
                self.clear &= is_field(line) && !framing.is_double();
                self.part = Part::Fields(start, framing);
                None
            }
            Part::Body(_) => {
                let Some(size) = chunk_size(line) else {
                    return Some(Found::Foreign);
                };
                self.part = match size {
                    0 => Part::Trailers,
                    _ => Part::ChunkData(size.saturating_add(2)),
                };
                None
            }
            Part::Trailers if line.is_empty() => {
                self.part = Part::Start;
                Some(Found::End)
            }
            Part::Trailers | Part::ChunkData(_) | Part::Foreign => None,
        }
    }
}

impl Framing {
    /// Adds what a field says; `None` if it contradicts itself.
    fn with(mut self, line: &[u8]) -> Option<Self> {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Some(self);
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..)?.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value)?;
            if self.length.is_some_and(|other| other != length) {
                return None;
            }
            self.length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let last = value.rsplit(|byte| *byte == b',').next()?.trim_ascii();
            self.coding = Some(if last.eq_ignore_ascii_case(b"chunked") {
                Coding::Chunked
            } else {
                Coding::Other
            });
        } else if name.eq_ignore_ascii_case(b"expect") {
            self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
        }
        Some(self)
    }

    /// Some take the length, others the coding (RFC 9112, section 6.3).
    const fn is_double(self) -> bool {
        self.length.is_some() && self.coding.is_some()
    }

    /// RFC 9112, section 6.3.
    fn body(self, side: Side) -> Option<Body> {
        match (self.coding, self.length, side) {
            (Some(Coding::Chunked), ..) => Some(Body::Chunked),
            (Some(Coding::Other), _, Side::Server) => Some(Body::UntilEnd),
            (Some(Coding::Other), _, Side::Client) => None,
            (None, Some(length), _) => Some(Body::Length(length)),
            (None, None, Side::Client) => Some(Body::Length(0)),
            (None, None, Side::Server) => Some(Body::UntilEnd),
        }
    }
}

/// Whether nobody takes this line for another field, or for two (RFC 9112, sections 2.2 and 5.1).
fn is_field(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    name.len() < line.len()
        && !name.is_empty()
        && name.iter().all(|byte| is_token(*byte))
        && !line.contains(&b'\r')
}

/// Skips up to `left` bytes and says how many are left then.
fn skip(bytes: &mut &[u8], left: u64) -> u64 {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    *bytes = bytes.get(here..).unwrap_or_default();
    left.saturating_sub(here as u64)
}

const VERSION: &[u8] = b"HTTP/1.";

fn start(side: Side, line: &[u8]) -> Option<Start> {
    if !may_start(side, line) {
        return None;
    }
    match side {
        Side::Client => {
            let (method, target) = line.split_at(line.iter().position(|byte| *byte == b' ')?);
            // Of a line that was cut the version is not known.
            let version = target.rsplit(|byte| *byte == b' ').next()?;
            if line.len() < LINE_BYTES && !version.starts_with(VERSION) {
                return None;
            }
            Some(Start::Request(match method {
                b"HEAD" => Method::Head,
                b"CONNECT" => Method::Connect,
                _ => Method::Other,
            }))
        }
        Side::Server => {
            let status = line.split(|byte| *byte == b' ').nth(1)?;
            let status = (status.len() == 3).then(|| decimal(status)).flatten()?;
            let status = u16::try_from(status).ok().filter(|status| *status >= 100)?;
            Some(Start::Answer { status })
        }
    }
}

/// Whether a line that begins like this may be a start line.
fn may_start(side: Side, line: &[u8]) -> bool {
    match side {
        Side::Client => {
            let method = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            line == b"\r" || (line.first() != Some(&b' ') && method.iter().all(|byte| is_token(*byte)))
        }
        Side::Server => line == b"\r" || line.starts_with(VERSION) || VERSION.starts_with(line),
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    number(digits, 16)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    number(digits, 10)
}

/// Digits alone: no sign, no empty string.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    let only = digits.bytes().all(|byte| char::from(byte).is_digit(radix));
    only.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

#[cfg(test)]
mod tests;
