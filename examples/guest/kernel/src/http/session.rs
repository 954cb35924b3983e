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

/// How long a client may take for a request's head, and for each 5,000 bytes of its body.
pub const REQUEST_PATIENCE_NS: u64 = 10_000_000_000;
/// What a byte of a body adds to the time for the rest, of which there is never more than [`REQUEST_PATIENCE_NS`].
const BODY_BYTE_NS: u64 = REQUEST_PATIENCE_NS / 5_000;

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
pub struct Session {
    state: State,
    /// When the request must have come; none while there is none, or it is not the client who is waited for.
    deadline_ns: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// A request is expected or has begun.
    Head,
    /// The reply has begun, and `left` bytes of the body are to be returned or dropped.
    Body { left: u64, echo: bool, then: Connection },
    /// `left` bytes of the body are to be dropped before the reply.
    Held { left: u64, reply: Held },
    /// All is said; what still comes is dropped.
    Closing,
}

/// A reply that waits until its request is complete.
#[derive(Debug)]
struct Held {
    answer: Answer,
    connection: Connection,
    without_body: bool,
}

/// What a good request is answered with, its own body apart.
#[derive(Debug)]
enum Answer {
    /// What the application says.
    Act(Action),
    /// This text.
    Text(Vec<u8>),
}

/// What comes after a step.
enum Step {
    /// The next one, with this many bytes of input consumed.
    Next(usize),
    /// More input.
    WaitForInput,
    /// More room.
    WaitForRoom,
}

impl Session {
    /// Expects the first request.
    pub fn new() -> Self {
        Self {
            state: State::Head,
            deadline_ns: None,
        }
    }

    /// Reads as many of `input`'s bytes as can be dealt with, appends what is to be sent, at most `room` bytes, to
    /// `scratch.out`, and returns how many bytes it consumed. The rest must come again with the next call. A request
    /// that has not come in its time is given up; `now_ns` is a time that never goes back.
    pub fn advance(
        &mut self,
        input: &[u8],
        room: usize,
        now_ns: u64,
        scratch: &mut Scratch,
        app: &mut impl App,
    ) -> usize {
        let end = scratch.out.len() + room;
        let mut consumed = 0;
        loop {
            let room = end.saturating_sub(scratch.out.len());
            let rest = input.get(consumed..).unwrap_or_default();
            match self.step(rest, room, now_ns, scratch, app) {
                Step::Next(len) => consumed += len,
                Step::WaitForInput if self.is_idle() && rest.is_empty() || self.is_closing() => {
                    self.deadline_ns = None;
                    return consumed;
                }
                Step::WaitForInput => {
                    let deadline_ns = self
                        .deadline_ns
                        .get_or_insert(now_ns.saturating_add(REQUEST_PATIENCE_NS));
                    if now_ns < *deadline_ns {
                        return consumed;
                    }
                    self.give_up(scratch);
                }
                Step::WaitForRoom => {
                    self.deadline_ns = None;
                    return consumed;
                }
            }
        }
    }

    /// Whether no request is being dealt with; one may have begun that is still with the caller.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// Whether the connection is to be closed once everything has been sent.
    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    /// Expects nothing more, and says nothing more.
    pub fn close(&mut self) {
        self.state = State::Closing;
    }

    fn step(
        &mut self,
        input: &[u8],
        room: usize,
        now_ns: u64,
        scratch: &mut Scratch,
        app: &mut impl App,
    ) -> Step {
        match &mut self.state {
            State::Closing if input.is_empty() => Step::WaitForInput,
            State::Closing => Step::Next(input.len()),
            State::Body { left: 0, then, .. } => {
                self.state = State::after(*then);
                self.deadline_ns = None;
                Step::Next(0)
            }
            State::Body { left, echo, .. } => {
                let moved = if *echo {
                    take_body(input, room, left, Some(&mut scratch.out))
                } else {
                    take_body(input, usize::MAX, left, None)
                };
                self.body_step(moved, input.is_empty(), now_ns)
            }
            State::Held { left: 0, .. } if room < MAX_REPLY_LEN => Step::WaitForRoom,
            State::Held { left: 0, reply } => {
                self.state = State::after(reply.write(scratch, app));
                self.deadline_ns = None;
                Step::Next(0)
            }
            State::Held { left, .. } => {
                let moved = take_body(input, usize::MAX, left, None);
                self.body_step(moved, input.is_empty(), now_ns)
            }
            State::Head if input.is_empty() => Step::WaitForInput,
            State::Head if room < MAX_REPLY_LEN => Step::WaitForRoom,
            State::Head => {
                // RFC 9112, section 2.2: empty lines before a request are ignored.
                if input.starts_with(b"\r\n") {
                    return Step::Next(2);
                }
                match Head::parse(input) {
                    Ok(Head::Partial) => Step::WaitForInput,
                    Ok(Head::Complete(request, len)) => {
                        self.answer(&request, scratch, app);
                        Step::Next(len)
                    }
                    Err(status) => {
                        self.refuse(status, scratch);
                        Step::Next(input.len())
                    }
                }
            }
        }
    }

    /// What comes after a step that has `moved` bytes of a body; time is on the client's side for each of them.
    fn body_step(&mut self, moved: usize, no_input: bool, now_ns: u64) -> Step {
        if moved == 0 {
            return if no_input {
                Step::WaitForInput
            } else {
                Step::WaitForRoom
            };
        }
        let gain_ns = u64::try_from(moved)
            .unwrap_or(u64::MAX)
            .saturating_mul(BODY_BYTE_NS);
        let most_ns = now_ns.saturating_add(REQUEST_PATIENCE_NS);
        self.deadline_ns = self
            .deadline_ns
            .map(|deadline_ns| deadline_ns.saturating_add(gain_ns).min(most_ns));
        Step::Next(moved)
    }

    /// Ends a conversation whose client is too slow. After a reply has begun there is nothing left to say.
    #[cold]
    fn give_up(&mut self, scratch: &mut Scratch) {
        match self.state {
            State::Head | State::Held { .. } => self.refuse(Status::RequestTimeout, scratch),
            State::Body { .. } | State::Closing => self.state = State::Closing,
        }
    }

    /// Says what is wrong, and nothing after that.
    #[cold]
    fn refuse(&mut self, status: Status, scratch: &mut Scratch) {
        let reply = Reply {
            status,
            json: false,
            allow: None,
            connection: Connection::Closes,
        };
        reply.write_error(&mut scratch.out, false);
        self.state = State::Closing;
    }

    fn answer(&mut self, request: &Request<'_>, scratch: &mut Scratch, app: &mut impl App) {
        self.deadline_ns = None;
        let left = request.body_len;
        let mut reply = Reply {
            status: Status::Ok,
            json: false,
            allow: None,
            connection: request.connection,
        };
        let without_body = request.method == "HEAD";
        let answer = match Route::of(request) {
            Route::Refuse(status, allow) => {
                (reply.status, reply.allow) = (status, allow);
                if request.expects_continue {
                    // Only the client knows whether the body still comes that it has asked about.
                    reply.connection = Connection::Closes;
                }
                reply.write_error(&mut scratch.out, without_body);
                self.state = if request.expects_continue {
                    State::Closing
                } else {
                    let (echo, then) = (false, reply.connection);
                    State::Body { left, echo, then }
                };
                return;
            }
            Route::EchoBody => {
                go_on(request, scratch);
                reply.write_head(&mut scratch.out, left);
                let (echo, then) = (true, reply.connection);
                self.state = State::Body { left, echo, then };
                return;
            }
            Route::EchoQuery(text) => Answer::Text(text.as_bytes().to_vec()),
            Route::Act(action) => Answer::Act(action),
        };
        let held = Held {
            answer,
            connection: request.connection,
            without_body,
        };
        self.state = if left > 0 {
            go_on(request, scratch);
            State::Held { left, reply: held }
        } else {
            State::after(held.write(scratch, app))
        };
    }
}

impl State {
    /// What follows the last byte of a request and of its reply.
    fn after(connection: Connection) -> Self {
        match connection {
            Connection::Closes => Self::Closing,
            Connection::Stays | Connection::StaysIfSaid => Self::Head,
        }
    }
}

impl Held {
    /// Does what was asked for and appends the reply; returns what becomes of the connection.
    fn write(&self, scratch: &mut Scratch, app: &mut impl App) -> Connection {
        let Scratch { out, body } = scratch;
        let mut reply = Reply {
            status: Status::Ok,
            json: false,
            allow: None,
            connection: self.connection,
        };
        body.clear();
        match &self.answer {
            Answer::Text(text) => body.extend_from_slice(text),
            &Answer::Act(action) => {
                reply.status = app.act(action, body);
                reply.json = action == Action::Info && reply.status == Status::Ok;
                if action == Action::Exit {
                    reply.connection = Connection::Closes;
                }
            }
        }
        if reply.status == Status::Ok {
            reply.write_head(out, u64::try_from(body.len()).unwrap_or(u64::MAX));
            if !self.without_body {
                out.extend_from_slice(body);
            }
        } else {
            reply.write_error(out, self.without_body);
        }
        reply.connection
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells a client to send the body, if it waits for that.
fn go_on(request: &Request<'_>, scratch: &mut Scratch) {
    if request.expects_continue {
        scratch.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
}

/// Takes up to `limit` of the `left` bytes of a body from `input`, to `out` or to nowhere; returns how many.
fn take_body(input: &[u8], limit: usize, left: &mut u64, out: Option<&mut Vec<u8>>) -> usize {
    let len = input
        .len()
        .min(limit)
        .min(usize::try_from(*left).unwrap_or(usize::MAX));
    if let (Some(out), Some(part)) = (out, input.get(..len)) {
        out.extend_from_slice(part);
    }
    *left = left.saturating_sub(u64::try_from(len).unwrap_or(u64::MAX));
    len
}

#[cfg(test)]
mod tests;
