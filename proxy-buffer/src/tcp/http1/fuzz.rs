//! What a fuzzer feeds (fuzz/README.md): anything that two parties could say, in any order and cut anywhere.

use std::time::Duration;

use super::Conversation;
use crate::{HoldError, Limits, Party, time::Timestamp};

/// One conversation twice: told what was said in one piece, and byte by byte.
struct Twins {
    whole: Conversation,
    cut: Conversation,
}

impl Twins {
    fn both(&mut self, tell: impl Fn(&mut Conversation)) {
        tell(&mut self.whole);
        tell(&mut self.cut);
    }

    /// What is said of the conversation now, with its deadline: the same by both.
    fn say(&self, now: Timestamp, limits: &Limits) -> Option<Timestamp> {
        let [said, also] = [&self.whole, &self.cut].map(|talk| {
            let flags = [
                ("due", talk.is_due()),
                ("idle", talk.is_idle()),
                ("awaits head", talk.awaits_head()),
                ("full", talk.is_full()),
                ("between answers", talk.is_between_answers()),
                ("answering", talk.is_answering()),
            ];
            let asked = match talk.closed(now) {
                HoldError::BackendClosed { asked, .. } => Some(asked),
                _ => None,
            };
            (flags, talk.deadline(limits), asked)
        });
        assert_eq!(said, also);
        said.1
    }
}

/// Reads `data` as steps of a conversation, a byte for what happens and then what it takes, up to an upgrade or until somebody is late.
pub fn fuzz_http1(mut data: &[u8]) {
    let limits = Limits::default();
    let times = [limits.answer_time, limits.request_time, limits.abandoned_time];
    let longest = times.into_iter().max().unwrap_or_default();
    let mut now = Timestamp::default();
    let mut talk = Twins {
        whole: Conversation::new(),
        cut: Conversation::new(),
    };
    let (mut client_speaks, mut server_speaks, mut server_reads) = (true, true, true);
    let mut stuck = None;
    while let Some(step) = next(&mut data) {
        match step % 9 {
            0 => {
                let said = bytes(&mut data);
                // As a session does: what is read goes through here first.
                let (empty, as_well) = (talk.whole.empty_lines(said), talk.cut.empty_lines(said));
                assert_eq!(empty, as_well);
                let (empty, said) = said.split_at(empty);
                assert!(empty.iter().all(|byte| b"\r\n".contains(byte)));
                assert!(empty.is_empty() || talk.whole.is_idle());
                if client_speaks && server_reads && !talk.whole.is_full() && !said.is_empty() {
                    talk.whole.client_bytes(now, said);
                    for byte in said.chunks(1) {
                        talk.cut.client_bytes(now, byte);
                    }
                }
            }
            1 => {
                let said = bytes(&mut data);
                if server_speaks && !said.is_empty() {
                    let upgraded = talk.whole.server_bytes(now, said);
                    let byte_by_byte = said
                        .chunks(1)
                        .try_for_each(|byte| talk.cut.server_bytes(now, byte));
                    assert_eq!(upgraded, byte_by_byte);
                    if upgraded.is_err() {
                        return;
                    }
                }
            }
            2 => now = now.after(Duration::from_secs(next(&mut data).unwrap_or_default().into())),
            3 => {
                client_speaks = false;
                talk.both(|talk| talk.client_ended(now));
            }
            4 => {
                server_speaks = false;
                talk.both(|talk| talk.server_ended(now));
            }
            5 => {
                server_reads = false;
                talk.both(|talk| talk.server_deaf(now));
            }
            6 => {
                stuck = match next(&mut data).unwrap_or_default() % 3 {
                    0 => None,
                    1 => Some(Party::Client),
                    _ => Some(Party::Target),
                };
                talk.both(|talk| talk.moved(now, stuck));
            }
            7 => {
                let by = match next(&mut data).unwrap_or_default() % 2 {
                    0 => Party::Client,
                    _ => Party::Target,
                };
                talk.both(|talk| talk.taken(now, by));
            }
            _ => {
                talk.both(|talk| talk.resumed(now));
            }
        }
        let deadline = talk.say(now, &limits);
        // Whatever is under way has its time, and nothing else.
        let under_way = !talk.whole.is_idle() || !client_speaks || stuck.is_some();
        assert_eq!(deadline.is_some(), under_way, "{:?}", talk.whole);
        assert!(deadline.is_none_or(|at| at <= now.after(longest)));
        let is_late = deadline.is_some_and(|at| at <= now);
        assert_eq!(talk.whole.late(now, &limits).is_some(), is_late);
        if is_late {
            return;
        }
    }
}

fn next(data: &mut &[u8]) -> Option<u8> {
    let (first, rest) = data.split_first()?;
    *data = rest;
    Some(*first)
}

/// As many bytes as the next one says and there are.
fn bytes<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let len = usize::from(next(data).unwrap_or_default()).min(data.len());
    let (bytes, rest) = data.split_at(len);
    *data = rest;
    bytes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn conversations_hold_against_their_corpus() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/fuzz_http1");
        let mut fed = 0;
        for file in std::fs::read_dir(corpus).unwrap() {
            fuzz_http1(&std::fs::read(file.unwrap().path()).unwrap());
            fed += 1;
        }
        assert!(fed > 0, "the corpus is empty");
    }

    fn step() -> impl Strategy<Value = Vec<u8>> {
        let said = prop::sample::select(
            &[
                "GET / HTTP/1.1\r\n",
                "PUT / HTTP/1.1\r\n",
                "HEAD / HTTP/1.0\n",
                "CONNECT a:1 HTTP/1.1\r\n",
                "HTTP/1.1 200 OK\r\n",
                "HTTP/1.1 100 Continue\r\n\r\n",
                "HTTP/1.1 304 \r\n",
                "Content-Length: 3\r\n",
                "Transfer-Encoding: chunked\r\n",
                "Expect: 100-continue\r\n",
                "\r\n",
                "\r\n\r\n",
                "\r",
                "\n",
                "3\r\nabc\r\n",
                "0\r\n\r\n",
                "abc",
                "x",
                "\u{16}\u{3}",
            ][..],
        );
        let said = prop::collection::vec(said, 1..4).prop_map(|said| said.concat());
        let speech = (0..2_u8, said).prop_map(|(who, said)| {
            let len = u8::try_from(said.len()).unwrap();
            [&[who, len][..], said.as_bytes()].concat()
        });
        let event = (2..9_u8, any::<u8>()).prop_map(|(what, how)| match what {
            2 | 6 | 7 => vec![what, how],
            _ => vec![what],
        });
        prop_oneof![6 => speech, 2 => event, 1 => prop::collection::vec(any::<u8>(), 0..9)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn conversations_hold_against_almost_right_bytes(steps in prop::collection::vec(step(), 0..20)) {
            fuzz_http1(&steps.concat());
        }
    }
}
