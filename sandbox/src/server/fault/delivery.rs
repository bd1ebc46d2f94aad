//! What faults do to the stanzas that are about to be written to a companion.

use tokio::time::Instant;

use super::place::Delivery;
use crate::server::queue::Class;
use crate::server::service::Service;
use crate::server::session::Session;
use crate::wire::node::Node;

/// The next stanzas of the session's queue that are to be written now; none only when the queue has
/// no more for now, however many of them were delayed.
pub(in crate::server) fn deliver(
    service: &Service,
    session: &Session,
    swapped: &mut Option<Box<(Instant, Node)>>,
    count: usize,
) -> Vec<Node> {
    loop {
        let pulled = session.device.pull(session.link.id, count);
        let is_last = pulled.is_empty();
        let now = pass(service, session, swapped, pulled);
        if is_last || !now.is_empty() {
            return now;
        }
    }
}

/// What is to be written now of what was pulled from the queue, in this order. A delayed stanza goes
/// to the outbox; one that was put behind the next is in `swapped` until that comes, or its time is
/// up. A connection that ends takes both with it: the queue still has them.
fn pass(
    service: &Service,
    session: &Session,
    swapped: &mut Option<Box<(Instant, Node)>>,
    pulled: Vec<Node>,
) -> Vec<Node> {
    if swapped.is_none() && !service.faults.touch_deliveries() {
        return pulled;
    }
    let mut now = Vec::with_capacity(pulled.len() + 1);
    for mut stanza in pulled {
        let mut passes = Class::parse(&stanza.tag).is_some();
        match service.faults.at_delivery(session.who(), &mut stanza) {
            Some(Delivery::Delay(delay)) => {
                session.link.outbox.push_at(Instant::now() + delay, &stanza);
                passes = false;
            }
            Some(Delivery::Duplicate) => {
                now.push(stanza.clone());
                now.push(stanza);
            }
            Some(Delivery::Reorder(within)) if swapped.is_none() => {
                *swapped = Some(Box::new((Instant::now() + within, stanza)));
                passes = false;
            }
            _ => now.push(stanza),
        }
        if let Some(late) = swapped.take_if(|_| passes) {
            now.push(late.1);
        }
    }
    if let Some(late) = swapped.take_if(|late| late.0 <= Instant::now()) {
        now.push(late.1);
    }
    now
}
