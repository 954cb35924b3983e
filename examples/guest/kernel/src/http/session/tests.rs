use super::*;
use proptest::prelude::*;

#[derive(Default)]
struct Fake {
    count: u64,
}

impl App for Fake {
    fn act(&mut self, action: Action, body: &mut Vec<u8>) -> Status {
        match action {
            Action::Count => {
                self.count += 1;
                body.extend_from_slice(self.count.to_string().as_bytes());
                Status::Ok
            }
            Action::Touch { .. } => Status::InsufficientStorage,
            Action::Info => {
                body.extend_from_slice(b"{}");
                Status::Ok
            }
            _ => Status::Ok,
        }
    }
}

/// Feeds `input` in pieces, keeping what is not consumed, with `room` for output in each call.
fn talk(input: &[u8], piece_len: usize, room: usize) -> (String, Session) {
    let (mut session, mut scratch, mut app) = (Session::new(), Scratch::default(), Fake::default());
    let mut pending = Vec::new();
    for piece in input
        .chunks(piece_len.max(1))
        .chain(std::iter::repeat_n(&[][..], 200))
    {
        pending.extend_from_slice(piece);
        let before = scratch.out.len();
        let consumed = session.advance(&pending, room, 0, &mut scratch, &mut app);
        assert!(scratch.out.len() - before <= room);
        pending.drain(..consumed);
    }
    (String::from_utf8(scratch.out).unwrap(), session)
}

fn bodies(replies: &str) -> Vec<&str> {
    replies
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|reply| reply.split_once("\r\n\r\n").unwrap().1)
        .collect()
}

const COUNT: &str = "GET /count HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (replies, session) = talk(COUNT.repeat(3).as_bytes(), usize::MAX, MAX_REPLY_LEN * 8);
    assert_eq!(bodies(&replies), ["1", "2", "3"]);
    assert!(!session.is_closing());
}

#[test]
fn a_request_waits_for_room_for_its_reply() {
    let (mut session, mut scratch, mut app) = (Session::new(), Scratch::default(), Fake::default());
    assert_eq!(
        session.advance(COUNT.as_bytes(), MAX_REPLY_LEN - 1, 0, &mut scratch, &mut app),
        0
    );
    assert_eq!(app.count, 0);
    assert_eq!(
        session.advance(COUNT.as_bytes(), MAX_REPLY_LEN, 0, &mut scratch, &mut app),
        COUNT.len()
    );
    assert_eq!(app.count, 1);
}

#[test]
fn bodies_come_back_whole_and_do_not_become_requests() {
    let body = COUNT.repeat(100);
    let post = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let input = [post("/echo"), post("/count"), post("/nothing"), COUNT.into()].concat();
    let (replies, _) = talk(input.as_bytes(), 1460, 4096);
    assert!(replies.contains(&format!("\r\n\r\n{body}HTTP/1.1 200 OK")));
    assert!(replies.contains("\r\n\r\n1HTTP/1.1 404 Not Found"));
    assert!(replies.ends_with("\r\n\r\n2"));
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let input = "PUT /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi";
    let (replies, _) = talk(input.as_bytes(), usize::MAX, MAX_REPLY_LEN);
    assert!(replies.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
    assert!(replies.ends_with("\r\n\r\nhi"));
}

#[test]
fn a_client_that_waits_is_not_told_to_go_on_for_nothing() {
    let head = "PUT /nothing HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let (replies, session) = talk(format!("{head}{COUNT}").as_bytes(), usize::MAX, MAX_REPLY_LEN);
    assert!(replies.starts_with("HTTP/1.1 404 Not Found\r\n") && replies.contains("Connection: close\r\n"));
    assert_eq!(bodies(&replies).len(), 1, "what follows may be the body");
    assert!(session.is_closing());
    let old = "POST /count HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi";
    assert!(
        talk(old.as_bytes(), usize::MAX, MAX_REPLY_LEN)
            .0
            .starts_with("HTTP/1.1 200 OK")
    );
}

#[test]
fn a_request_counts_when_it_is_complete() {
    let head = "POST /count HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let (replies, _) = talk(format!("{head}h").as_bytes(), usize::MAX, MAX_REPLY_LEN);
    assert_eq!(replies, "HTTP/1.1 100 Continue\r\n\r\n");
    let (replies, _) = talk(format!("{head}hi{COUNT}").as_bytes(), 1, MAX_REPLY_LEN);
    assert_eq!(bodies(&replies), ["", "1", "2"]);
    let echo = "GET /echo?text HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(bodies(&talk(echo.as_bytes(), 1, MAX_REPLY_LEN).0), ["text"]);
}

const SECOND_NS: u64 = 1_000_000_000;

/// Feeds pieces that arrive at times in seconds.
fn talk_slowly(pieces: &[(u64, &[u8])], room: usize) -> (String, Session) {
    let (mut session, mut scratch, mut app) = (Session::new(), Scratch::default(), Fake::default());
    let mut pending = Vec::new();
    for &(second, piece) in pieces {
        pending.extend_from_slice(piece);
        let consumed = session.advance(&pending, room, second * SECOND_NS, &mut scratch, &mut app);
        pending.drain(..consumed);
    }
    (String::from_utf8(scratch.out).unwrap(), session)
}

#[test]
fn a_head_that_dribbles_is_given_up_after_ten_seconds() {
    let byte = |second| (second, &b"G"[..]);
    let nine: Vec<_> = (100..110).map(byte).collect();
    let (replies, session) = talk_slowly(&nine, MAX_REPLY_LEN);
    assert!(replies.is_empty() && !session.is_closing());
    let ten: Vec<_> = (100..=110).map(byte).collect();
    let (replies, session) = talk_slowly(&ten, MAX_REPLY_LEN);
    assert!(
        replies.starts_with("HTTP/1.1 408 Request Timeout\r\n") && replies.contains("Connection: close\r\n")
    );
    assert!(session.is_closing());
}

#[test]
fn silence_between_requests_is_not_a_slow_request() {
    let count = COUNT.as_bytes();
    let (first, rest) = count.split_at(9);
    let pieces = [
        (0, count),
        (50, &b""[..]),
        (100, count),
        (200, first),
        (209, rest),
        (300, first),
        (309, rest),
    ];
    let (replies, session) = talk_slowly(&pieces, MAX_REPLY_LEN);
    assert_eq!(bodies(&replies), ["1", "2", "3", "4"]);
    assert!(session.is_idle());
    // What completes a request is taken, however late it is: nobody has looked in between.
    let (replies, _) = talk_slowly(&[(0, first), (300, rest)], MAX_REPLY_LEN);
    assert_eq!(bodies(&replies), ["1"]);
}

#[test]
fn a_body_must_keep_coming() {
    let head =
        |path| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").into_bytes();
    let body = [b'x'; 5_000];
    // The last piece brings too little for the time it took.
    for (path, reply) in [
        ("/count", "HTTP/1.1 408 "),
        ("/echo", "HTTP/1.1 200 "),
        ("/nothing", "HTTP/1.1 404 "),
    ] {
        let head = head(path);
        let mut pieces = vec![
            (0, &head[..]),
            (9, &body),
            (18, &body),
            (27, &body),
            (36, &body[..1]),
        ];
        let (replies, session) = talk_slowly(&pieces, 1 << 20);
        assert!(!session.is_closing(), "{path}");
        assert_eq!(path == "/count", replies.is_empty(), "{path}");
        pieces.push((38, &body[..1]));
        let (replies, session) = talk_slowly(&pieces, 1 << 20);
        assert!(
            session.is_closing() && replies.starts_with(reply),
            "{path}: {replies}"
        );
        assert_eq!(replies.matches("HTTP/1.1 ").count(), 1, "{path}");
    }
}

#[test]
fn a_client_is_not_blamed_for_waiting_for_us() {
    let (mut session, mut scratch, mut app) = (Session::new(), Scratch::default(), Fake::default());
    let head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    session.advance(head, MAX_REPLY_LEN, 0, &mut scratch, &mut app);
    // No room to echo for a long time, and then the client has its time again.
    for (input, room, second, consumed) in [
        (&b"hello"[..], 0, 9, 0),
        (b"hello", 0, 60, 0),
        (b"hello", 9, 61, 5),
        (b"", 9, 70, 0),
    ] {
        let now_ns = second * SECOND_NS;
        assert_eq!(
            session.advance(input, room, now_ns, &mut scratch, &mut app),
            consumed
        );
        assert!(!session.is_closing(), "after {second} s");
    }
    session.advance(b"", 9, 71 * SECOND_NS, &mut scratch, &mut app);
    assert!(session.is_closing());
}

#[test]
fn close_ends_the_conversation() {
    let closing = "GET /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (replies, session) = talk(
        format!("{closing}{COUNT}").as_bytes(),
        usize::MAX,
        MAX_REPLY_LEN * 8,
    );
    assert_eq!(bodies(&replies), ["1"]);
    assert!(replies.contains("Connection: close\r\n"));
    assert!(session.is_closing());
    let (replies, session) = talk(
        b"GET /exit HTTP/1.1\r\nHost: a\r\n\r\n",
        usize::MAX,
        MAX_REPLY_LEN,
    );
    assert!(replies.contains("Connection: close\r\n") && session.is_closing());
}

#[test]
fn errors_name_themselves_and_bad_requests_close() {
    let (replies, session) = talk(b"nonsense\r\n\r\n", usize::MAX, MAX_REPLY_LEN);
    assert_eq!(bodies(&replies), ["400 Bad Request\n"]);
    assert!(session.is_closing());
    let touch = "GET /touch?mib=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (replies, session) = talk(touch.as_bytes(), usize::MAX, MAX_REPLY_LEN);
    assert_eq!(bodies(&replies), ["507 Insufficient Storage\n"]);
    assert!(!session.is_closing());
}

#[test]
fn head_has_the_length_but_not_the_body() {
    let (replies, _) = talk(
        b"HEAD /info HTTP/1.1\r\nHost: a\r\n\r\n",
        usize::MAX,
        MAX_REPLY_LEN,
    );
    assert!(replies.contains("Content-Type: application/json\r\nContent-Length: 2\r\n"));
    assert_eq!(bodies(&replies), [""]);
}

proptest! {
    #[test]
    fn replies_do_not_depend_on_how_the_bytes_arrive(
        requests in proptest::collection::vec(0_usize..6, 1..8), piece_len in 1_usize..200, room in MAX_REPLY_LEN..8192
    ) {
        let kinds = [
            COUNT,
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /",
            "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nGET /",
            "GET /echo?q=1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
            "DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        ];
        let input: String = requests.iter().map(|&kind| kinds[kind]).collect();
        let (whole, _) = talk(input.as_bytes(), usize::MAX, usize::MAX >> 1);
        let (pieces, _) = talk(input.as_bytes(), piece_len, room);
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn any_bytes_end_in_an_answer_or_in_waiting(input: Vec<u8>, tail in "[ -~\r\n]{0,80}", piece_len in 1_usize..50) {
        let input = [&input[..], b"GET /count HTTP/1.1\r\n", tail.as_bytes(), b"\r\n\r\n"].concat();
        let _ = talk(&input, piece_len, MAX_REPLY_LEN);
    }
}
