//! A refusal that HTTP/1 clients understand.

use bytes::Bytes;

use crate::HoldError;

/// Answers an HTTP/1 client that is turned away: 408 if its request took too long, 431 if its head is too long to
/// be held, 504 if the target took too long to wake
/// or to answer, 502 if it broke off, 503 with `Retry-After` otherwise. The body says what happened.
#[must_use]
pub fn http1_refusal(why: &HoldError) -> Option<Bytes> {
    let (status, retry_after_s) = match why {
        HoldError::RequestTimeOver { .. } => ("408 Request Timeout", None),
        HoldError::HeadTooLong { .. } => ("431 Request Header Fields Too Large", None),
        HoldError::HoldTimeOver { .. } | HoldError::AnswerTimeOver { .. } | HoldError::Abandoned { .. } => {
            ("504 Gateway Timeout", None)
        }
        HoldError::ConnectFailed(_) | HoldError::BackendClosed { .. } | HoldError::BackendLost { .. } => {
            ("502 Bad Gateway", None)
        }
        HoldError::WakeFailed(error) => {
            // Whole seconds, rounded up: RFC 9110, section 10.2.3.
            let retry_after = error.retry_after().map(|after| after.as_millis().div_ceil(1000));
            ("503 Service Unavailable", Some(retry_after.unwrap_or(1)))
        }
        HoldError::QueueFull { .. }
        | HoldError::BytesFull { .. }
        | HoldError::ConnectRefused(_)
        | HoldError::Draining
        | HoldError::TooManyConnections { .. } => ("503 Service Unavailable", Some(1)),
    };
    let retry_after = retry_after_s
        .map(|s| format!("Retry-After: {s}\r\n"))
        .unwrap_or_default();
    let body = format!("{status}: {why}\n");
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{retry_after}\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    Some(reply.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ActivateError, Asked};

    fn reply(why: &HoldError) -> String {
        String::from_utf8(http1_refusal(why).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_failed_wake_says_why_and_when_to_retry() {
        let error = ActivateError::new("no memory").with_retry_after(Duration::from_millis(1500));
        let reply = reply(&HoldError::WakeFailed(error));
        assert!(
            reply.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{reply}"
        );
        assert!(reply.contains("\r\nRetry-After: 2\r\n"), "{reply}");
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "503 Service Unavailable: wake the target: no memory\n");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
    }

    #[test]
    fn a_dead_backend_is_a_bad_gateway_and_a_slow_one_a_timeout() {
        let (asked, waited) = (Asked::Request, Duration::from_secs(3));
        assert!(reply(&HoldError::BackendClosed { asked, waited }).starts_with("HTTP/1.1 502 "));
        assert!(reply(&HoldError::BackendLost { reason: "oom".into() }).starts_with("HTTP/1.1 502 "));
        assert!(reply(&HoldError::HoldTimeOver { waited }).starts_with("HTTP/1.1 504 "));
    }
}
