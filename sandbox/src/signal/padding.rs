//! The padding around a message's protobuf: n bytes of value n, n from 1 to 16.
//!
//! It hides short length differences; it is no integrity check, the Signal message around it is.

use super::primitive::random_bytes;

#[cfg(test)]
mod tests;

/// The longest padding a sender appends.
pub const PADDING_BYTES_MAX: u8 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaddingError {
    #[error("a padded message is not empty")]
    Empty,
    #[error("padding length {0} is not in 1..=16")]
    Length(u8),
    #[error("the message is shorter than its padding of {0} bytes")]
    Truncated(u8),
    #[error("the padding bytes differ from their length {0}")]
    Content(u8),
}

/// Appends a random number of padding bytes.
pub fn pad(mut message: Vec<u8>) -> Vec<u8> {
    let [random] = random_bytes::<1>();
    let count = random % PADDING_BYTES_MAX + 1;
    message.resize(message.len() + usize::from(count), count);
    message
}

/// The message without its padding.
pub fn unpad(padded: &[u8]) -> Result<&[u8], PaddingError> {
    let count = *padded.last().ok_or(PaddingError::Empty)?;
    if !(1..=PADDING_BYTES_MAX).contains(&count) {
        return Err(PaddingError::Length(count));
    }
    let at = padded
        .len()
        .checked_sub(usize::from(count))
        .ok_or(PaddingError::Truncated(count))?;
    let (message, padding) = padded.split_at(at);
    if padding.iter().any(|byte| *byte != count) {
        return Err(PaddingError::Content(count));
    }
    Ok(message)
}
