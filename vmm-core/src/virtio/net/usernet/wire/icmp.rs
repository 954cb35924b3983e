//! ICMP echo (RFC 792).

use super::Malformed;
use super::checksum::Sum;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// What an echo request wants back (identifier, sequence and data), or `None` for other messages.
pub(crate) fn parse_echo(message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let ([kind, code, _, _], rest) = message.split_first_chunk::<4>().ok_or(Malformed::Shape)?;
    if Sum::default().add(message).finish() != 0 {
        return Err(Malformed::Checksum);
    }
    Ok((*kind == ECHO_REQUEST && *code == 0 && rest.len() >= 4).then_some(rest))
}

/// Appends the reply to an echo request.
pub(crate) fn write_reply(out: &mut Vec<u8>, echo: &[u8]) {
    let [c0, c1] = Sum::default()
        .add(&[ECHO_REPLY, 0, 0, 0])
        .add(echo)
        .finish()
        .to_be_bytes();
    out.extend_from_slice(&[ECHO_REPLY, 0, c0, c1]);
    out.extend_from_slice(echo);
}
