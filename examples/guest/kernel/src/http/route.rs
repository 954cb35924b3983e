//! Which request does what.

use super::{Status, request::Request};

/// What a request asks of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `/`: say hello.
    Hello,
    /// `/count`: add one to the counter and tell it.
    Count,
    /// `/burn?ms=N`: keep the CPU busy for N milliseconds.
    Burn {
        /// At most 60,000.
        ms: u64,
    },
    /// `/touch?mib=N`: write to every page of N MiB of memory.
    Touch {
        /// At most what an address space holds; memory decides.
        mib: u64,
    },
    /// `/info`: tell about this VM.
    Info,
    /// `/crash`: triple fault, without a reply.
    Crash,
    /// `/exit`: stop the VM after the reply.
    Exit,
}

/// Longest burn, one minute.
const MAX_BURN_MS: u64 = 60_000;
/// Longest query that `GET /echo` returns.
pub(super) const MAX_ECHO_QUERY_LEN: usize = 1024;

/// How a request is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// By the application.
    Act(Action),
    /// With this text.
    EchoQuery(&'a str),
    /// With its own body.
    EchoBody,
    /// With an error, and the methods that would do where the method is at fault.
    Refuse(Status, Option<&'static str>),
}

const READ: &str = "GET, HEAD";
const ACT: &str = "GET, POST";
const ECHO: &str = "GET, HEAD, POST, PUT";

impl<'a> Route<'a> {
    pub(super) fn of(request: &Request<'a>) -> Self {
        let allowed = match request.path {
            "/" | "/info" => READ,
            "/count" | "/burn" | "/touch" | "/crash" | "/exit" => ACT,
            "/echo" => ECHO,
            _ => return Self::Refuse(Status::NotFound, None),
        };
        if !allowed.split(", ").any(|method| method == request.method) {
            return Self::Refuse(Status::MethodNotAllowed, Some(allowed));
        }
        let bad = Self::Refuse(Status::BadRequest, None);
        match request.path {
            "/" => Self::Act(Action::Hello),
            "/info" => Self::Act(Action::Info),
            "/count" => Self::Act(Action::Count),
            "/burn" => match number(request.query, "ms") {
                Some(ms) if ms <= MAX_BURN_MS => Self::Act(Action::Burn { ms }),
                _ => bad,
            },
            "/touch" => number(request.query, "mib").map_or(bad, |mib| Self::Act(Action::Touch { mib })),
            "/crash" => Self::Act(Action::Crash),
            "/exit" => Self::Act(Action::Exit),
            _ if request.method == "POST" || request.method == "PUT" => Self::EchoBody,
            _ if request.query.len() > MAX_ECHO_QUERY_LEN => Self::Refuse(Status::UriTooLong, None),
            _ => Self::EchoQuery(request.query),
        }
    }
}

/// The value of `key` in a query such as `a=1&b=2`.
fn number(query: &str, key: &str) -> Option<u64> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?;
    value
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| value.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::Connection;

    fn route<'a>(method: &'a str, path: &'a str, query: &'a str) -> Route<'a> {
        let connection = Connection::Stays;
        Route::of(&Request {
            method,
            path,
            query,
            body_len: 0,
            connection,
            expects_continue: false,
        })
    }

    #[test]
    fn parameters_are_whole_numbers_in_range() {
        assert_eq!(route("GET", "/burn", "ms=5"), Route::Act(Action::Burn { ms: 5 }));
        assert_eq!(
            route("POST", "/touch", "x=1&mib=16"),
            Route::Act(Action::Touch { mib: 16 })
        );
        for query in [
            "",
            "ms",
            "ms=",
            "ms=+5",
            "ms=-1",
            "ms=60001",
            "mss=5",
            "ms=1x",
            "ms=99999999999999999999",
        ] {
            assert_eq!(
                route("GET", "/burn", query),
                Route::Refuse(Status::BadRequest, None),
                "{query}"
            );
        }
    }

    #[test]
    fn methods_are_those_of_the_route() {
        assert_eq!(
            route("POST", "/", ""),
            Route::Refuse(Status::MethodNotAllowed, Some("GET, HEAD"))
        );
        assert_eq!(
            route("HEAD", "/count", ""),
            Route::Refuse(Status::MethodNotAllowed, Some("GET, POST"))
        );
        assert_eq!(
            route("get", "/count", ""),
            Route::Refuse(Status::MethodNotAllowed, Some("GET, POST"))
        );
        assert_eq!(
            route("GET", "/nothing", ""),
            Route::Refuse(Status::NotFound, None)
        );
    }

    #[test]
    fn echo_returns_the_body_or_the_query() {
        assert_eq!(route("PUT", "/echo", "q"), Route::EchoBody);
        assert_eq!(route("GET", "/echo", "q"), Route::EchoQuery("q"));
        let long = "q".repeat(MAX_ECHO_QUERY_LEN + 1);
        assert_eq!(
            route("GET", "/echo", &long),
            Route::Refuse(Status::UriTooLong, None)
        );
    }
}
