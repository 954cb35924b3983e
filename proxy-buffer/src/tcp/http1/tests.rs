//! Conversations in every order of events, against what positions in two scripts say.

use std::time::Duration;

use proptest::prelude::*;

use super::{Conversation, Upgraded};
use crate::{Asked, HoldError, Limits, Party, RequestPart, time::Timestamp};

/// A request and its answer; where the head of the request ends is what the model must know of it.
const EXCHANGES: [(&str, &str, &str); 4] = [
    (
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ),
    (
        "PUT / HTTP/1.1\r\nContent-Length: 7\r\n\r\n",
        "content",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ),
    (
        "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nX: y\r\n\r\n",
    ),
    (
        "HEAD / HTTP/1.1\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
    ),
];

#[derive(Clone, Copy, Debug)]
enum Op {
    Client(usize),
    ClientEnds,
    Server(usize),
    ServerEnds,
    Passes(u64),
    Stuck(Option<Party>),
    Takes(Party),
}

fn op() -> impl Strategy<Value = Op> {
    let party = prop_oneof![Just(Party::Client), Just(Party::Target)];
    prop_oneof![
        6 => (1_usize..40).prop_map(Op::Client),
        6 => (1_usize..40).prop_map(Op::Server),
        4 => (1_u64..40).prop_map(Op::Passes),
        1 => prop::option::of(party.clone()).prop_map(Op::Stuck),
        1 => Just(Op::Stuck(None)),
        1 => party.prop_map(Op::Takes),
        1 => Just(Op::ClientEnds),
        1 => Just(Op::ServerEnds),
    ]
}

/// What has been sent of two scripts, and what follows from that.
struct Model {
    /// Ends of heads, of requests, of answers.
    ends: Vec<(usize, usize, usize)>,
    client: usize,
    server: usize,
    client_ended: bool,
    server_ended: bool,
    stuck: Option<Party>,
}

impl Model {
    fn answered(&self) -> usize {
        self.ends.iter().filter(|(.., end)| *end <= self.server).count()
    }

    /// What a server leaves unanswered that says no more.
    fn asked(&self) -> Asked {
        let complete = self.ends.iter().filter(|(_, end, _)| *end <= self.client).count();
        match complete > self.answered() {
            true => Asked::Request,
            false => Asked::Bytes,
        }
    }

    fn is_due(&self) -> bool {
        let answered = self.answered();
        let begun = answered.checked_sub(1).map_or(0, |last| self.ends[last].2) < self.server;
        let complete = self.ends.iter().filter(|(_, end, _)| *end <= self.client).count();
        !self.server_ended && (begun || complete > answered)
    }

    /// The request that is on its way: which, and whether its head is.
    fn open(&self) -> Option<(usize, RequestPart)> {
        let complete = self.ends.iter().filter(|(_, end, _)| *end <= self.client).count();
        let start = complete.checked_sub(1).map_or(0, |last| self.ends[last].1);
        let (head_end, ..) = *self.ends.get(complete)?;
        let part = if self.client < head_end {
            RequestPart::Head
        } else {
            RequestPart::Body
        };
        (start < self.client).then_some((complete, part))
    }

    /// How far a server can answer that has seen so many heads.
    fn server_limit(&self) -> usize {
        let heads = self.ends.iter().filter(|(head, ..)| *head <= self.client);
        heads.map(|(.., end)| *end).next_back().unwrap_or(0)
    }
}

const LIMITS: [u64; 3] = [60, 30, 5];

fn limits() -> Limits {
    let [answer, request, abandoned] = LIMITS.map(Duration::from_secs);
    Limits {
        answer_time: answer,
        request_time: request,
        abandoned_time: abandoned,
        ..Limits::default()
    }
}

fn late_as_it_should(model: &Model, why: &HoldError) -> bool {
    match why {
        HoldError::Abandoned { .. } => model.client_ended,
        HoldError::AnswerTimeOver {
            waiting_for, asked, ..
        } => {
            (model.is_due() || model.stuck.is_some())
                && *waiting_for == model.stuck.unwrap_or(Party::Target)
                && (*asked == model.asked() || model.server_ended)
        }
        HoldError::RequestTimeOver { part, .. } => {
            !model.is_due() && model.open().is_some_and(|(_, open)| open == *part)
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whoever_must_get_on_has_a_limit_that_only_progress_puts_off(
        picks in prop::collection::vec(prop::sample::select(&EXCHANGES[..]), 1..5),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let (mut requests, mut answers) = (String::new(), String::new());
        let mut ends = Vec::new();
        for (head, body, answer) in picks {
            requests += head;
            let head_end = requests.len();
            requests += body;
            answers += answer;
            ends.push((head_end, requests.len(), answers.len()));
        }
        let mut model = Model { ends, client: 0, server: 0, client_ended: false, server_ended: false, stuck: None };
        let (limits, mut talk, mut now) = (limits(), Conversation::new(), Timestamp::default());
        let second = Duration::from_secs(1);
        let longest = second * u32::try_from(LIMITS[0]).unwrap();
        for op in ops {
            let (deadline, due, open) = (talk.deadline(&limits), model.is_due(), model.open());
            match op {
                Op::Client(len) if !model.client_ended => {
                    let end = requests.len().min(model.client + len);
                    talk.client_bytes(now, &requests.as_bytes()[model.client..end]);
                    model.client = end;
                }
                Op::Server(len) if !model.server_ended => {
                    let end = model.server_limit().min(model.server + len).max(model.server);
                    prop_assert_eq!(talk.server_bytes(now, &answers.as_bytes()[model.server..end]), Ok(()));
                    model.server = end;
                }
                Op::ClientEnds if !model.client_ended => {
                    talk.client_ended(now);
                    model.client_ended = true;
                }
                Op::ServerEnds if !model.server_ended => {
                    talk.server_ended(now);
                    model.server_ended = true;
                }
                Op::Passes(seconds) => now = now.after(second * u32::try_from(seconds).unwrap()),
                Op::Stuck(party) => {
                    talk.moved(now, party);
                    model.stuck = party;
                }
                Op::Takes(party) => talk.taken(now, party),
                Op::Client(_) | Op::Server(_) | Op::ClientEnds | Op::ServerEnds => {}
            }
            // It knows what the positions say.
            prop_assert_eq!(talk.is_due(), model.is_due());
            prop_assert_eq!(talk.is_idle(), !model.is_due() && model.open().is_none());
            // Whatever is under way ends soon, unless something happens.
            let under_way = !talk.is_idle() || model.client_ended || model.stuck.is_some();
            let next = talk.deadline(&limits);
            prop_assert_eq!(next.is_some(), under_way);
            prop_assert!(next.is_none_or(|next| next <= now.after(longest)));
            // What a client sends beside what it is waited for, or byte by byte, buys no time.
            let same_head = open == model.open() && matches!(open, Some((_, RequestPart::Head)));
            if matches!(op, Op::Client(_)) && (due && model.is_due() || !due && !model.is_due() && same_head) {
                prop_assert_eq!(next, deadline);
            }
            if let Some(why) = talk.late(now, &limits) {
                prop_assert!(next.is_some_and(|next| next <= now), "{} too early", why);
                prop_assert!(late_as_it_should(&model, &why), "{}", why);
                return Ok(());
            }
            prop_assert!(next.is_none_or(|next| next > now), "nothing is said in time");
        }
    }
}

#[test]
fn a_head_that_comes_between_other_things_has_no_more_time_than_any() {
    let (limits, mut talk, mut now) = (limits(), Conversation::new(), Timestamp::default());
    talk.client_bytes(now, b"G");
    let mut seconds = 0;
    let why = loop {
        now = now.after(Duration::from_secs(4));
        seconds += 4;
        if let Some(why) = talk.late(now, &limits) {
            break why;
        }
        // The server hesitates to take each byte.
        talk.client_bytes(now, b"E");
        talk.moved(now, Some(Party::Target));
        now = now.after(Duration::from_secs(50));
        talk.moved(now, None);
        assert!(seconds < 60);
    };
    assert_eq!(seconds, 32);
    assert!(
        matches!(
            why,
            HoldError::RequestTimeOver {
                part: RequestPart::Head,
                waited
            } if waited == Duration::from_secs(32)
        ),
        "{why}"
    );
}

#[test]
fn a_client_may_not_have_any_number_of_answers_owed() {
    let mut talk = Conversation::new();
    let (mut requests, now) = (0, Timestamp::default());
    while !talk.is_full() {
        talk.client_bytes(now, b"GET / HTTP/1.1\r\n\r\n");
        requests += 1;
    }
    assert_eq!(requests, 64);
    assert_eq!(talk.server_bytes(now, b"HTTP/1.1 204 No Content\r\n\r\n"), Ok(()));
    assert!(!talk.is_full());
}

#[test]
fn an_answer_that_comes_before_its_request_is_complete_is_not_owed_again() {
    let mut talk = Conversation::new();
    let now = Timestamp::default();
    talk.client_bytes(now, b"GET / HT");
    let refusal = b"HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(talk.server_bytes(now, refusal), Ok(()));
    talk.client_bytes(now, b"TP/1.1\r\n\r\n");
    assert!(talk.is_idle());
    talk.client_bytes(now, b"GET / HTTP/1.1\r\n\r\n");
    assert!(talk.is_due());
}

#[test]
fn only_who_has_asked_with_a_whole_request_may_blame_the_server() {
    let long = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(5000));
    let cases: [(&[u8], _); 14] = [
        (long.as_bytes(), Asked::Request),
        (b"GET / HTTP/1.1\r\n\r\n", Asked::Request),
        (b"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", Asked::Request),
        (b"GET / HTTP/1.1\r\n\r\nGET / HT", Asked::Request),
        (b"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\na", Asked::Bytes),
        (b"GET / HTTP/1.1\r\n", Asked::Bytes),
        (b"\x16\x03\x01 hello", Asked::Bytes),
        // Some wait for a line end, others for a body.
        (b"GET / HTTP/1.1\nHost: a\n\n", Asked::Bytes),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Asked::Bytes),
        (
            b"GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
            Asked::Bytes,
        ),
        (b"GET / HTTP/1.1\r\nX: a\rContent-Length: 9\r\n\r\n", Asked::Bytes),
        (
            b"GET / HTTP/1.1\r\nX: a\r\n Content-Length: 9\r\n\r\n",
            Asked::Bytes,
        ),
        (
            b"PUT / HTTP/1.1\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Asked::Bytes,
        ),
        (
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
            Asked::Bytes,
        ),
    ];
    let (limits, start) = (limits(), Timestamp::default());
    let end = start.after(Duration::from_secs(60));
    for (said, expected) in cases {
        let text = String::from_utf8_lossy(said);
        let mut talk = Conversation::new();
        talk.client_bytes(start, said);
        let closed = talk.closed(end);
        let HoldError::BackendClosed { asked, waited } = closed else {
            unreachable!("{closed:?}")
        };
        assert_eq!((asked, waited), (expected, Duration::from_secs(60)), "{text}");
        // It does not take the bytes, or takes them and says nothing.
        for stuck in [Some(Party::Target), None] {
            talk.moved(start, stuck);
            if let Some(HoldError::AnswerTimeOver { asked, .. }) = talk.late(end, &limits) {
                assert_eq!(asked, expected, "{text}");
            }
        }
    }
}

#[test]
fn what_is_answered_after_whole_requests_is_followed_to_their_end_only() {
    let (mut talk, now) = (Conversation::new(), Timestamp::default());
    talk.client_bytes(now, b"GET / HTTP/1.1\r\n\r\n\x16\x03\x01 hello");
    assert_eq!(
        talk.server_bytes(now, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"),
        Ok(())
    );
    assert!(talk.is_answering());
    assert_eq!(talk.server_bytes(now, b"b"), Ok(()));
    assert!(talk.is_due(), "the rest is to be answered too");
    assert_eq!(talk.server_bytes(now, b"HTTP/1.1 400"), Err(Upgraded));
    // The same with one read.
    let mut talk = Conversation::new();
    talk.client_bytes(now, b"GET / HTTP/1.1\r\n\r\n\x16\x03\x01 hello");
    let both = b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 400 Bad\r\n";
    assert_eq!(talk.server_bytes(now, both), Err(Upgraded));
    // A request that is foreign from its body on is answered once.
    let mut talk = Conversation::new();
    talk.client_bytes(
        now,
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
    );
    assert_eq!(
        talk.server_bytes(now, b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"),
        Err(Upgraded)
    );
}

#[test]
fn what_follows_an_answer_that_came_too_early_is_not_followed_for_ever() {
    let (mut talk, now) = (Conversation::new(), Timestamp::default());
    talk.client_bytes(now, b"GET /");
    let refusal = b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(talk.server_bytes(now, refusal), Ok(()));
    talk.client_bytes(now, b"\r\n");
    assert!(talk.is_idle(), "that was answered");
    talk.client_bytes(now, b"GET / HTTP/1.1\r\n\r\n");
    assert!(talk.is_due());
    assert_eq!(talk.server_bytes(now, refusal), Err(Upgraded));
}

#[test]
fn a_word_is_owed_to_a_client_that_waits_for_it_and_to_no_other() {
    let word = b"HTTP/1.1 100 Continue\r\n\r\n";
    let now = Timestamp::default();
    let head = |fields: &str| format!("PUT / HTTP/1.1\r\nContent-Length: 2\r\n{fields}\r\n");
    let waiting = |said: &str| {
        let mut talk = Conversation::new();
        talk.client_bytes(now, said.as_bytes());
        talk
    };
    assert!(!waiting(&head("")).is_due());
    assert!(!waiting(&head("Expect: something\r\n")).is_due());
    let expecting = head("eXpect:100-Continue\r\n");
    // It goes on by itself, at once or later.
    assert!(!waiting(&(expecting.clone() + "a")).is_due());
    let mut talk = waiting(&expecting);
    assert!(talk.is_due());
    talk.client_bytes(now, b"a");
    assert!(!talk.is_due());
    // The word of the request before is not the one.
    let mut talk = waiting(&("GET / HTTP/1.1\r\n\r\n".to_owned() + &expecting));
    assert_eq!(talk.server_bytes(now, word), Ok(()));
    assert_eq!(talk.server_bytes(now, b"HTTP/1.1 204 No Content\r\n\r\n"), Ok(()));
    assert!(talk.is_due());
    assert_eq!(talk.server_bytes(now, word), Ok(()));
    assert!(!talk.is_due() && !talk.is_idle());
    // An answer instead of it ends what is owed.
    let mut talk = waiting(&expecting);
    let refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(talk.server_bytes(now, refusal), Ok(()));
    assert!(!talk.is_due());
}
