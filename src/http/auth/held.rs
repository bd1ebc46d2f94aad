//! Calls that wait, and streams: they end with the key that they are made with.

use super::authenticate::refused;
use super::caller::Caller;
use crate::access::Hold;
use crate::http::problem::{Answer, Problem};
use crate::http::state::Gateway;

/// Answered where a key lost its validity while its call was waiting.
pub fn withdrawn() -> Problem {
    refused("the API key is not valid any more")
}

/// Holds a stream open in the name of the caller's key.
pub async fn hold(gateway: &Gateway, caller: &Caller) -> Answer<Hold> {
    let hold = gateway.access.hold(caller.found()).await?;
    hold.ok_or_else(withdrawn)
}

/// Waits for an answer as long as the caller's key holds.
pub async fn held<T>(
    gateway: &Gateway,
    caller: &Caller,
    answer: impl Future<Output = Answer<T>>,
) -> Answer<T> {
    let hold = hold(gateway, caller).await?;
    tokio::select! {
        biased;
        _ = hold.ended() => Err(withdrawn()),
        answer = answer => answer,
    }
}
