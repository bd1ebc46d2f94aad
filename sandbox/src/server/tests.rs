//! Facts about the queue and about what a phone remembers.

use super::persist::Shelf;
use super::queue::{Class, Entry, Offer, Queue};
use crate::wire::node::Node;

fn entry(class: Class, id: &str, origin: u64) -> Entry {
    Entry {
        class,
        id: id.into(),
        origin,
        node: Node::new("message").attr("id", id.to_owned()),
    }
}

fn ids(queue: &Queue) -> Vec<String> {
    queue
        .read(0, usize::MAX)
        .map(|(_, entry)| entry.id.to_string())
        .collect()
}

#[test]
fn entries_keep_their_order_until_they_are_settled() {
    let mut queue = Queue::new(10, 1 << 20, Shelf::none());
    for id in ["a", "b", "c"] {
        assert_eq!(queue.offer(entry(Class::Message, id, 1)), Offer::Queued);
    }
    assert_eq!(queue.settle(Class::Message, "b", false, |_| true), 1);
    assert_eq!(ids(&queue), ["a", "c"]);
    assert_eq!(queue.settle(Class::Receipt, "a", false, |_| true), 0);
    assert_eq!(queue.len(), 2);
}

#[test]
fn a_repeated_message_is_known_while_queued_and_after_it_is_settled() {
    let mut queue = Queue::new(10, 1 << 20, Shelf::none());
    assert_eq!(queue.offer(entry(Class::Message, "a", 1)), Offer::Queued);
    assert_eq!(queue.offer(entry(Class::Message, "a", 1)), Offer::Known);
    queue.settle(Class::Message, "a", false, |_| true);
    assert_eq!(queue.offer(entry(Class::Message, "a", 1)), Offer::Known);
    assert_eq!(
        queue.offer(entry(Class::Message, "a", 2)),
        Offer::Queued,
        "another sender's id is another message"
    );
}

#[test]
fn a_message_whose_resend_was_asked_for_is_queued_again() {
    let mut queue = Queue::new(10, 1 << 20, Shelf::none());
    queue.offer(entry(Class::Message, "a", 1));
    queue.settle(Class::Message, "a", true, |_| true);
    assert_eq!(queue.offer(entry(Class::Message, "a", 1)), Offer::Queued);
    queue.settle(Class::Message, "a", false, |_| true);
    queue.forget_settled("a", 1);
    assert_eq!(queue.offer(entry(Class::Message, "a", 1)), Offer::Queued);
}

#[test]
fn receipts_leave_room_for_messages() {
    let mut queue = Queue::new(4, 1 << 20, Shelf::none());
    assert_eq!(queue.offer(entry(Class::Receipt, "a", 1)), Offer::Queued);
    assert_eq!(queue.offer(entry(Class::Receipt, "b", 1)), Offer::Queued);
    assert_eq!(queue.offer(entry(Class::Receipt, "c", 1)), Offer::Full);
    assert_eq!(queue.offer(entry(Class::Message, "d", 1)), Offer::Queued);
    assert_eq!(queue.offer(entry(Class::Message, "e", 1)), Offer::Queued);
    assert_eq!(queue.offer(entry(Class::Message, "f", 1)), Offer::Full);
}

#[test]
fn a_queue_is_full_by_bytes_too() {
    let mut queue = Queue::new(100, 1_000, Shelf::none());
    let mut large = entry(Class::Message, "a", 1);
    large.node = large.node.bytes(vec![0; 2_000]);
    assert_eq!(queue.offer(large), Offer::Queued);
    assert_eq!(queue.offer(entry(Class::Message, "b", 1)), Offer::Full);
    queue.settle(Class::Message, "a", false, |_| true);
    assert_eq!(queue.offer(entry(Class::Message, "b", 1)), Offer::Queued);
}
