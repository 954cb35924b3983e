//! Requests and their answers on one connection: which are owed, whose turn it is, and since when. Pure.

use std::{collections::VecDeque, time::Duration};

use super::scanner::{Body, Found, Method, Scanner, Side, Start};
use crate::{Asked, HoldError, Limits, Party, RequestPart, time::Timestamp};

/// With so many answers owed, no more requests are read.
const MOST_OWED: usize = 64;

/// A body that pauses for less counts as if it went on.
const BODY_PAUSE: Duration = Duration::from_millis(10);

/// One connection that carries HTTP/1.
///
/// A request runs from its first byte to the end of its answer. While the server has what it needs, or has begun to answer,
/// or does not take what is sent to it, it is the server's turn (and the client's, if that does not take its answer). While
/// it lacks a part of the request, it is the client's turn. Each turn has its limit.
#[derive(Debug)]
pub(in crate::tcp) struct Conversation {
    requests: Scanner,
    answers: Scanner,
    /// Answers that are not complete, oldest first: to heads that are, and to what is not HTTP/1.
    owed: VecDeque<Owed>,
    /// The request that has begun was answered before its head was complete.
    answered_early: bool,
    client_speaks: Speech,
    last_read: Read,
    client_ended: bool,
    server_ended: bool,
    /// Who does not take what is there for it.
    stuck: Option<Party>,
    turn: Turn,
    /// When the turn began or last got on.
    since: Timestamp,
    /// What the head that is being sent has taken in turns before this one.
    head_spent: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Nobody,
    Client(RequestPart),
    Server,
}

/// What an answer is owed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Request(Method),
    /// A part of a head, of which the server reads no more.
    Part,
    /// Bytes that are not HTTP/1. The server has to say what it makes of them.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Http1,
    /// If the server goes on to answer it, it understands it.
    Foreign,
}

/// What a read between two requests has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    EmptyLines,
    Words,
}

/// The connection carries something else from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tcp) struct Upgraded;

impl Conversation {
    pub(in crate::tcp) const fn new() -> Self {
        Self {
            requests: Scanner::new(Side::Client),
            answers: Scanner::new(Side::Server),
            owed: VecDeque::new(),
            answered_early: false,
            client_speaks: Speech::Http1,
            last_read: Read::Words,
            client_ended: false,
            server_ended: false,
            stuck: None,
            turn: Turn::Nobody,
            since: Timestamp::from_nanos(0),
            head_spent: Duration::ZERO,
        }
    }

    /// Whether the server is to do something: answer, or go on answering.
    pub(in crate::tcp) fn is_due(&self) -> bool {
        let awaited = match self.requests.hesitates() {
            true => self.owed.len(),
            false => self.owed.len().saturating_sub(self.unfinished()),
        };
        !self.server_ended && (self.answers.is_open() || awaited > 0)
    }

    /// Whether a whole request has no whole answer: whole however a server reads it.
    fn asked(&self) -> Asked {
        let whole = self.owed.len().saturating_sub(self.unfinished());
        match self
            .owed
            .iter()
            .take(whole)
            .any(|owed| matches!(owed, Owed::Request(_)))
        {
            true if self.requests.is_clear() => Asked::Request,
            _ => Asked::Bytes,
        }
    }

    /// The last request owed may be one whose body is still on its way.
    fn unfinished(&self) -> usize {
        usize::from(self.is_in_body())
    }

    fn is_in_body(&self) -> bool {
        self.requests.is_open() && !self.requests.is_in_head()
    }

    /// What it means that the server closes the connection now.
    pub(in crate::tcp) fn closed(&self, now: Timestamp) -> HoldError {
        HoldError::BackendClosed {
            asked: self.asked(),
            waited: now.since(self.since),
        }
    }

    /// Whether no request has begun that is not answered.
    pub(in crate::tcp) fn is_idle(&self) -> bool {
        !self.is_due() && !self.requests.is_open()
    }

    /// Whether a head has begun and not ended, and no other request is there.
    pub(in crate::tcp) fn awaits_head(&self) -> bool {
        self.requests.is_in_head() && !self.is_due()
    }

    /// Whether an answer of the proxy's own would be where an answer begins.
    pub(in crate::tcp) fn is_between_answers(&self) -> bool {
        !self.server_ended && !self.answers.is_open()
    }

    /// Whether an answer has begun and not ended.
    pub(in crate::tcp) fn is_answering(&self) -> bool {
        !self.server_ended && self.answers.is_open()
    }

    /// Whether enough requests wait for their answers.
    pub(in crate::tcp) fn is_full(&self) -> bool {
        self.owed.len() >= MOST_OWED
    }

    /// How many of the client's next bytes are empty lines that no request goes with: they are nothing to act on (RFC 9112,
    /// section 2.2). Those that come with something else may be the beginning of another protocol.
    pub(in crate::tcp) fn empty_lines(&mut self, bytes: &[u8]) -> usize {
        if !self.is_idle() || !self.requests.is_between() || !self.requests.is_clear() {
            return 0;
        }
        let empty = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let read = match empty == bytes.len() {
            true => Read::EmptyLines,
            false => Read::Words,
        };
        match (std::mem::replace(&mut self.last_read, read), read) {
            (Read::Words, Read::Words) => 0,
            // What was read last may end in the middle of a line.
            (Read::EmptyLines, _) | (_, Read::EmptyLines) => empty,
        }
    }

    pub(in crate::tcp) fn client_bytes(&mut self, now: Timestamp, mut bytes: &[u8]) {
        if self.requests.hesitates() && !bytes.is_empty() {
            // It was the server's turn to tell it. Whoever's is next, it begins now, though the whole body be here.
            self.requests.told();
            self.turned(now);
        }
        loop {
            if self.client_speaks == Speech::Foreign && self.owed.is_empty() && !bytes.is_empty() {
                self.begin(Owed::Foreign);
            }
            let begun = self.is_in_body();
            let Some(found) = self.requests.scan(&mut bytes) else {
                break;
            };
            match found {
                Found::Head(Start::Request(method)) => self.begin(Owed::Request(method)),
                Found::Foreign => self.turned_foreign(begun),
                Found::Head(Start::Answer { .. }) | Found::End => {}
            }
        }
        self.turned(now);
        if self.turn == Turn::Client(RequestPart::Body) {
            self.since = now;
        }
    }

    /// The client has sent its end.
    pub(in crate::tcp) fn client_ended(&mut self, now: Timestamp) {
        self.client_ended = true;
        self.turned(now);
        self.since = now;
    }

    /// The server reads no more.
    pub(in crate::tcp) fn server_deaf(&mut self, now: Timestamp) {
        if self.requests.is_in_head() {
            self.begin(Owed::Part);
        }
        self.requests.stop();
        self.turned(now);
    }

    pub(in crate::tcp) fn server_bytes(&mut self, now: Timestamp, mut bytes: &[u8]) -> Result<(), Upgraded> {
        loop {
            if self.is_left(bytes) {
                return Err(Upgraded);
            }
            let Some(found) = self.answers.scan(&mut bytes) else {
                break;
            };
            if matches!(found, Found::Head(_)) && self.owed.len() <= 1 {
                self.requests.told();
            }
            match found {
                Found::Head(Start::Answer { status }) => match (status, self.owed.front()) {
                    (101, _) | (200..=299, Some(Owed::Request(Method::Connect))) => return Err(Upgraded),
                    (100..=199, _) => {
                        // The answer proper is still to come. (RFC 9110, section 15.2)
                        self.answers.expect(Body::Length(0));
                        self.answers.scan(&mut bytes);
                    }
                    (204 | 304, _) | (_, Some(Owed::Request(Method::Head))) => {
                        self.answers.expect(Body::Length(0));
                    }
                    _ => {}
                },
                Found::End => {
                    if self.owed.pop_front().is_none() {
                        self.answered_early = self.requests.is_in_head();
                    }
                }
                Found::Foreign | Found::Head(Start::Request(_)) => return Err(Upgraded),
            }
        }
        self.got_on(now);
        self.turned(now);
        Ok(())
    }

    /// The server has sent its end: nothing will be answered any more.
    pub(in crate::tcp) fn server_ended(&mut self, now: Timestamp) {
        self.server_ended = true;
        self.owed.clear();
        self.turned(now);
    }

    /// Somebody took bytes that were there for it.
    pub(in crate::tcp) fn taken(&mut self, now: Timestamp, by: Party) {
        // A server that takes requests while it owes answers does not get on with those.
        if by == Party::Client || self.stuck == Some(by) {
            self.got_on(now);
        }
    }

    /// All bytes were moved that could be; `stuck` does not take the rest.
    pub(in crate::tcp) fn moved(&mut self, now: Timestamp, stuck: Option<Party>) {
        self.stuck = stuck;
        self.turned(now);
    }

    /// The connection goes on after it was held: nobody could get on meanwhile, but a client with its request's head.
    pub(in crate::tcp) fn resumed(&mut self, now: Timestamp) {
        if self.turn != Turn::Client(RequestPart::Head) {
            self.since = now;
        }
    }

    /// Until when the server may reckon with more of a body that has just got on.
    pub(in crate::tcp) fn flows_until(&self) -> Option<Timestamp> {
        (self.turn == Turn::Client(RequestPart::Body)).then(|| self.since.after(BODY_PAUSE))
    }

    /// When [`late`](Self::late) will have something to say.
    pub(in crate::tcp) fn deadline(&self, limits: &Limits) -> Option<Timestamp> {
        let time = match self.turn {
            _ if self.client_ended => limits.abandoned_time,
            Turn::Nobody => return None,
            Turn::Server => limits.answer_time,
            Turn::Client(RequestPart::Head) => limits.request_time.saturating_sub(self.head_spent),
            Turn::Client(RequestPart::Body) => limits.request_time,
        };
        Some(self.since.after(time))
    }

    /// Which limit is over.
    pub(in crate::tcp) fn late(&self, now: Timestamp, limits: &Limits) -> Option<HoldError> {
        self.deadline(limits).filter(|deadline| *deadline <= now)?;
        let waited = now.since(self.since);
        Some(match self.turn {
            _ if self.client_ended => HoldError::Abandoned { waited },
            Turn::Client(part) => HoldError::RequestTimeOver {
                part,
                waited: match part {
                    RequestPart::Head => waited.saturating_add(self.head_spent),
                    RequestPart::Body => waited,
                },
            },
            Turn::Server | Turn::Nobody => HoldError::AnswerTimeOver {
                waiting_for: self.stuck.unwrap_or(Party::Target),
                asked: self.asked(),
                waited,
            },
        })
    }

    fn begin(&mut self, owed: Owed) {
        if !std::mem::take(&mut self.answered_early) && !self.server_ended {
            self.owed.push_back(owed);
        }
        self.head_spent = Duration::ZERO;
        if matches!(self.turn, Turn::Client(_)) {
            // Whoever's turn is next, it begins now.
            self.turn = Turn::Nobody;
        }
    }

    /// The client does not speak HTTP/1, from the body on that had `begun` or from where a message should begin.
    fn turned_foreign(&mut self, begun: bool) {
        self.client_speaks = Speech::Foreign;
        match self.owed.back_mut().filter(|_| begun) {
            Some(last) => *last = Owed::Foreign,
            // Its answer has been given.
            None if begun => {}
            None => self.begin(Owed::Foreign),
        }
    }

    /// Whether `bytes` of the server answer something that is not HTTP/1.
    fn is_left(&self, bytes: &[u8]) -> bool {
        let reached = match self.owed.front() {
            None => true,
            Some(Owed::Foreign) => !bytes.is_empty(),
            Some(Owed::Request(_) | Owed::Part) => false,
        };
        self.client_speaks == Speech::Foreign && reached && !self.answers.is_open()
    }

    fn got_on(&mut self, now: Timestamp) {
        if !matches!(self.turn, Turn::Client(_)) {
            self.since = now;
        }
    }

    /// Notes whose turn it is now.
    fn turned(&mut self, now: Timestamp) {
        let turn = if self.stuck.is_some() || self.is_due() {
            Turn::Server
        } else if self.requests.is_in_head() {
            Turn::Client(RequestPart::Head)
        } else if self.requests.is_open() {
            Turn::Client(RequestPart::Body)
        } else {
            Turn::Nobody
        };
        if turn == self.turn {
            return;
        }
        if self.turn == Turn::Client(RequestPart::Head) {
            self.head_spent = self.head_spent.saturating_add(now.since(self.since));
        }
        self.turn = turn;
        self.since = now;
    }
}
