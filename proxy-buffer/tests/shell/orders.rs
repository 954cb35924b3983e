//! Clients and backends that do anything at any time: each request ends once, and soon.

use std::time::Duration;

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

use crate::pipes::Room;

const REQUEST: &str = "PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789";
const HEAD_BYTES: usize = REQUEST.len() - 10;
const ANSWER: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
/// All limits on silence together, with what closing and connecting may take.
const SUM: Duration = Duration::from_secs(60 + 30 + 5 + 5 + 2);

#[derive(Clone, Copy, Debug)]
enum Op {
    ClientSends(usize),
    ClientReads(usize),
    ClientEnds,
    BackendSends(usize),
    BackendReads(usize),
    BackendEnds,
    Passes(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (1_usize..80).prop_map(Op::ClientSends),
        2 => (1_usize..80).prop_map(Op::ClientReads),
        1 => Just(Op::ClientEnds),
        5 => (1_usize..80).prop_map(Op::BackendSends),
        3 => (1_usize..80).prop_map(Op::BackendReads),
        1 => Just(Op::BackendEnds),
        3 => (1_u64..35).prop_map(Op::Passes),
    ]
}

/// The two ends, and what has been written and read of endless scripts.
struct Ends {
    client: DuplexStream,
    backend: DuplexStream,
    asked: usize,
    arrived: usize,
    answered: usize,
    heard: Vec<u8>,
}

/// Gives up when nothing can be done now.
async fn now<T: Default>(doing: impl Future<Output = std::io::Result<T>>) -> T {
    let done = timeout(Duration::from_millis(1), doing).await;
    done.map(Result::unwrap_or_default).unwrap_or_default()
}

fn script(text: &str, from: usize, len: usize) -> Vec<u8> {
    text.bytes().cycle().skip(from % text.len()).take(len).collect()
}

impl Ends {
    async fn perform(&mut self, op: Op) {
        match op {
            Op::ClientSends(len) => {
                let bytes = script(REQUEST, self.asked, len);
                self.asked += now(self.client.write(&bytes)).await;
            }
            Op::ClientReads(len) => {
                let mut bytes = vec![0; len];
                let read = now(self.client.read(&mut bytes)).await;
                self.heard.extend(&bytes[..read]);
            }
            Op::BackendReads(len) => {
                self.arrived += now(self.backend.read(&mut vec![0; len])).await;
            }
            Op::BackendSends(len) => {
                // It answers what it has seen the head of.
                let heads = (self.arrived + REQUEST.len() - HEAD_BYTES) / REQUEST.len();
                let len = len.min((heads * ANSWER.len()).saturating_sub(self.answered));
                let bytes = script(ANSWER, self.answered, len);
                self.answered += now(self.backend.write(&bytes)).await;
            }
            Op::ClientEnds => now(self.client.shutdown()).await,
            Op::BackendEnds => now(self.backend.shutdown()).await,
            Op::Passes(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        }
    }
}

async fn run(ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut room = Room::http();
    room.wake().await;
    let (client, backend) = room.connected("P").await;
    let mut ends = Ends {
        client,
        backend,
        asked: 1,
        arrived: 1,
        answered: 0,
        heard: Vec::new(),
    };
    for op in ops {
        ends.perform(op).await;
    }
    // From here on only the client reads.
    let mut ended = timeout(SUM, ends.client.read_to_end(&mut ends.heard))
        .await
        .is_ok();
    let answers = ends.heard.len() / ANSWER.len();
    let heard = String::from_utf8(ends.heard).unwrap();
    let complete = heard
        .as_bytes()
        .chunks_exact(ANSWER.len())
        .take_while(|chunk| *chunk == ANSWER.as_bytes())
        .count();
    let rest = &heard[complete * ANSWER.len()..];
    let refusals = room.refusals();
    prop_assert!(refusals.len() <= 1, "{:?}", refusals);
    if rest.starts_with("HTTP/1.1 4") || rest.starts_with("HTTP/1.1 5") {
        // The refusal, whole, once, and last.
        prop_assert_eq!(rest.matches("HTTP/1.1").count(), 1, "{}", rest);
        let (_, body) = rest.split_once("\r\n\r\n").unwrap();
        prop_assert!(
            rest.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            rest
        );
        prop_assert!(refusals[0].contains(body.trim_end().split_once(": ").unwrap().1));
        prop_assert!(ended);
    } else {
        prop_assert!(ANSWER.starts_with(rest), "{}", rest);
        prop_assert_eq!(answers, complete);
        if !ended {
            let whole = rest.is_empty() && ends.asked == complete * REQUEST.len();
            prop_assert!(whole, "{} asked, {} answered, {:?}", ends.asked, complete, rest);
        }
    }
    if !ended {
        // Nothing is under way, so it may stay, as long as the client does.
        drop(ends.client);
        ended = timeout(SUM, room.assert_forgotten()).await.is_ok();
    } else {
        drop(ends.client);
        prop_assert!(timeout(SUM, room.assert_forgotten()).await.is_ok());
    }
    prop_assert!(ended);
    Ok(())
}

proptest! {
    #[test]
    fn each_request_ends_once_and_soon(ops in prop::collection::vec(op(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(ops))?;
    }
}
