//! One connection's conversation, as a state machine over the bytes received so far.

use alloc::vec::Vec;

use super::{
    Action, Status,
    reply::Reply,
    request::{Connection, Head, Request},
    route::{MAX_ECHO_QUERY_LEN, Route},
};

/// What the requests talk to.
pub trait App {
    /// Does `action` and appends the body of the reply, at most [`MAX_REPLY_LEN`] less 512 bytes. The body of
    /// [`Action::Info`] is JSON, others are text; a status other than `Ok` is its own body.
    fn act(&mut self, action: Action, body: &mut Vec<u8>) -> Status;
}

/// Room that [`Session::advance`] needs in order to answer a request, in bytes.
pub const MAX_REPLY_LEN: usize = 1024 + MAX_ECHO_QUERY_LEN;

/// Buffers that all sessions share: used within one call only.
#[derive(Debug)]
pub struct Scratch {
    /// What is to be sent.
    pub out: Vec<u8>,
    body: Vec<u8>,
}

impl Scratch {
    /// Buffers that hold usual replies without growing.
    pub fn new() -> Self {
        Self {
            out: Vec::with_capacity(384),
            body: Vec::with_capacity(128),
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// The state of one HTTP/1.1 connection between two calls.
#[derive(Debug)]
pub struct Session(State);

#[derive(Debug)]
enum State {
    /// A request is expected or has begun.
    Head,
    /// Bytes of a body, `left` of them, are to be returned or dropped.
    Body { left: u64, echo: bool, then: Connection },
    /// All is said; what still comes is dropped.
    Closing,
}

/// What comes after a step.
enum Step {
    /// The next one, with this many bytes of input consumed.
    Next(usize),
    /// More input or more room.
    Wait,
}

impl Session {
    /// Expects the first request.
    pub fn new() -> Self {
        Self(State::Head)
    }

    /// Reads as many of `input`'s bytes as can be dealt with, appends what is to be sent, at most `room` bytes, to
    /// `scratch.out`, and returns how many bytes it consumed. The rest must come again with the next call.
    pub fn advance(&mut self, input: &[u8], room: usize, scratch: &mut Scratch, app: &mut impl App) -> usize {
        let end = scratch.out.len() + room;
        let mut consumed = 0;
        loop {
            let room = end.saturating_sub(scratch.out.len());
            let rest = input.get(consumed..).unwrap_or_default();
            match self.step(rest, room, scratch, app) {
                Step::Next(len) => consumed += len,
                Step::Wait => return consumed,
            }
        }
    }

    /// Whether the connection is to be closed once everything has been sent.
    pub fn is_closing(&self) -> bool {
        matches!(self.0, State::Closing)
    }

    fn step(&mut self, input: &[u8], room: usize, scratch: &mut Scratch, app: &mut impl App) -> Step {
        match self.0 {
            State::Closing if input.is_empty() => Step::Wait,
            State::Closing => Step::Next(input.len()),
            State::Body { left: 0, then, .. } => {
                self.0 = if then == Connection::Closes {
                    State::Closing
                } else {
                    State::Head
                };
                Step::Next(0)
            }
            State::Body {
                ref mut left, echo, ..
            } => {
                let limit = usize::try_from(*left).unwrap_or(usize::MAX);
                let len = input.len().min(limit).min(if echo { room } else { usize::MAX });
                let (Some(part @ [_, ..]), Ok(moved)) = (input.get(..len), u64::try_from(len)) else {
                    return Step::Wait;
                };
                *left -= moved;
                if echo {
                    scratch.out.extend_from_slice(part);
                }
                Step::Next(len)
            }
            State::Head if room < MAX_REPLY_LEN => Step::Wait,
            State::Head => {
                // RFC 9112, section 2.2: empty lines before a request are ignored.
                if input.starts_with(b"\r\n") {
                    return Step::Next(2);
                }
                match Head::parse(input) {
                    Ok(Head::Partial) => Step::Wait,
                    Ok(Head::Complete(request, len)) => {
                        self.answer(&request, scratch, app);
                        Step::Next(len)
                    }
                    Err(status) => {
                        let reply = Reply {
                            status,
                            json: false,
                            allow: None,
                            connection: Connection::Closes,
                        };
                        reply.write_error(&mut scratch.out, false);
                        self.0 = State::Closing;
                        Step::Next(input.len())
                    }
                }
            }
        }
    }

    fn answer(&mut self, request: &Request<'_>, scratch: &mut Scratch, app: &mut impl App) {
        let Scratch { out, body } = scratch;
        let mut reply = Reply {
            status: Status::Ok,
            json: false,
            allow: None,
            connection: request.connection,
        };
        let without_body = request.method == "HEAD";
        let mut echo = false;
        body.clear();
        match Route::of(request) {
            Route::Refuse(status, allow) => {
                reply.status = status;
                reply.allow = allow;
            }
            Route::EchoQuery(text) => body.extend_from_slice(text.as_bytes()),
            Route::EchoBody => echo = true,
            Route::Act(action) => {
                reply.json = action == Action::Info;
                reply.status = app.act(action, body);
                if action == Action::Exit {
                    reply.connection = Connection::Closes;
                }
            }
        }
        if request.expects_continue {
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if reply.status != Status::Ok {
            reply.json = false;
            reply.write_error(out, without_body);
        } else if echo {
            reply.write_head(out, request.body_len);
        } else {
            reply.write_head(out, u64::try_from(body.len()).unwrap_or(u64::MAX));
            if !without_body {
                out.extend_from_slice(body);
            }
        }
        self.0 = State::Body {
            left: request.body_len,
            echo,
            then: reply.connection,
        };
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
