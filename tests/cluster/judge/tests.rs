//! The judge finds what it is there for.

use super::*;
use crate::journal::Effect;
use crate::wire::{End, Frame};

const SLOT: i64 = 7;

fn claim(at_us: u64, life: &str, epoch: i64) -> Claim {
    Claim {
        at_us,
        life: life.to_owned(),
        slot: SLOT,
        node: Some(life[..1].to_owned()),
        epoch,
    }
}

fn login(order: u64, life: &str, end: Option<u64>) -> Login {
    Login {
        order,
        at_us: order,
        connection: order,
        life: life.to_owned(),
        ended: end.map(|order| End { order, at_us: order }),
    }
}

fn frame(order: u64, connection: u64) -> Frame {
    Frame {
        order,
        at_us: order,
        connection,
        tag: "iq".to_owned(),
    }
}

fn write(n: i64, life: &str, epoch: i64) -> Effect {
    Effect {
        n,
        life: life.to_owned(),
        what: "message INSERT".to_owned(),
        key: "ins_1".to_owned(),
        at_us: n.cast_unsigned(),
        slot: SLOT,
        epoch,
    }
}

fn post(at_us: u64, life: &str) -> Post {
    Post {
        at_us,
        life: Some(life.to_owned()),
        webhook: "whk_1".to_owned(),
        event: "evt_1".to_owned(),
    }
}

/// Life a1 owns from 10 on, b1 from 100 on, and everybody does as he should.
fn good() -> Evidence {
    let slots = ["ins_1", "whk_1"].map(|key| (key.to_owned(), SLOT));
    let device = Device {
        instance: "ins_1".to_owned(),
        phone: "49".to_owned(),
        logins: vec![login(20, "a1", Some(90)), login(110, "b1", None)],
        frames: vec![frame(25, 20), frame(120, 110)],
    };
    Evidence {
        notes: Notes {
            effects: vec![write(30, "a1", 1), write(130, "b1", 2)],
            claims: vec![claim(10, "a1", 1), claim(100, "b1", 2)],
            slots: slots.into(),
        },
        devices: vec![device],
        posts: vec![post(40, "a1"), post(140, "b1")],
        frozen: Vec::new(),
    }
}

/// The rules that were broken.
fn broken(evidence: &Evidence) -> Vec<String> {
    let mut rules: Vec<String> = evidence
        .violations()
        .iter()
        .map(|violation| violation[..2].to_owned())
        .collect();
    rules.dedup();
    rules
}

#[test]
fn a_hand_over_in_order_breaks_no_rule() {
    assert_eq!(good().violations(), Vec::<String>::new());
}

#[test]
fn a_login_over_a_living_one_is_found_unless_that_node_is_frozen() {
    let mut evidence = good();
    evidence.devices[0].logins[0].ended = Some(End {
        order: 111,
        at_us: 111,
    });
    assert_eq!(broken(&evidence), ["L1"]);
    evidence.frozen.push(Frozen {
        life: "a1".to_owned(),
        from_us: 80,
        to_us: 200,
    });
    assert_eq!(broken(&evidence), Vec::<String>::new());
}

#[test]
fn a_frame_after_the_login_of_another_node_is_found_even_from_a_frozen_one() {
    let mut evidence = good();
    evidence.devices[0].logins[0].ended = Some(End {
        order: 200,
        at_us: 200,
    });
    evidence.devices[0].frames.push(frame(150, 20));
    evidence.frozen.push(Frozen {
        life: "a1".to_owned(),
        from_us: 80,
        to_us: 140,
    });
    assert_eq!(broken(&evidence), ["L2", "L3", "L4"]);
}

#[test]
fn a_login_from_a_node_that_does_not_own_the_slot_is_found() {
    let mut evidence = good();
    evidence.notes.claims[1].at_us = 115;
    assert_eq!(broken(&evidence), ["L3", "L4"]);
}

#[test]
fn a_frame_when_the_slot_was_given_back_is_found() {
    let mut evidence = good();
    evidence.notes.claims.insert(
        1,
        Claim {
            node: None,
            ..claim(24, "a1", 1)
        },
    );
    assert!(broken(&evidence).contains(&"L3".to_owned()));
}

#[test]
fn a_write_under_an_older_epoch_is_found() {
    let mut evidence = good();
    evidence.notes.effects.push(write(150, "a1", 1));
    assert_eq!(broken(&evidence), ["D1"]);
}

#[test]
fn a_write_under_another_nodes_epoch_is_found() {
    let mut evidence = good();
    evidence.notes.effects.push(write(150, "a1", 2));
    assert_eq!(broken(&evidence), ["D2"]);
}

#[test]
fn a_post_of_the_former_owner_is_found() {
    let mut evidence = good();
    evidence.posts.push(post(150, "a1"));
    assert_eq!(broken(&evidence), ["L3", "L4"]);
}
