//! No input in whatever order breaks the invariants of a session's life.

use std::time::Duration;

use proptest::prelude::*;
use roost_domain::engine::{LinkEnd, LinkFact};

use super::super::machine::{Effect, Input, Order};
use super::machine::{Bench, account};

fn any_input() -> impl Strategy<Value = Input> {
    let generation = 0_u64..6;
    let end = prop_oneof![
        Just(LinkEnd::Lost { reason: "x".into() }),
        Just(LinkEnd::LoggedOut { reason: "x".into() }),
        Just(LinkEnd::PairingTimedOut),
        Just(LinkEnd::Replaced),
        Just(LinkEnd::Banned {
            reason: "x".into(),
            lasts: Some(Duration::from_secs(9))
        }),
        Just(LinkEnd::Outdated),
    ];
    let valid_for = Duration::from_secs(20);
    let fact = prop_oneof![
        Just(LinkFact::Connected(account())),
        Just(LinkFact::Paired(account())),
        Just(LinkFact::Qr {
            code: "2@a".into(),
            valid_for
        }),
        end.prop_map(LinkFact::Ended),
    ];
    let order = prop_oneof![
        3 => Just(Order::Connect(None)),
        1 => Just(Order::Disconnect),
        1 => Just(Order::Logout),
    ];
    prop_oneof![
        2 => (any::<u64>(), order).prop_map(|(ticket, order)| Input::Order { ticket, order }),
        3 => generation.clone().prop_map(|generation| Input::GatePassed { generation }),
        6 => (generation.clone(), fact).prop_map(|(generation, fact)| Input::Link { generation, fact }),
        3 => generation.clone().prop_map(|generation| Input::Closed { generation }),
        2 => generation.clone().prop_map(|generation| Input::LogoutTold { generation }),
        3 => generation.prop_map(|generation| Input::Timer { generation }),
    ]
}

/// What the shell would know.
#[derive(Default)]
struct Shell {
    open: Option<u64>,
    closing: Option<u64>,
    unanswered: std::collections::HashSet<u64>,
}

impl Shell {
    /// Whether a shell could give this input now.
    fn may_give(&mut self, input: &Input) -> bool {
        match input {
            Input::Order { ticket, .. } => self.unanswered.insert(*ticket),
            Input::Closed { generation } => self.closing.take_if(|closing| closing == generation).is_some(),
            Input::LogoutTold { generation } => self.open == Some(*generation),
            _ => true,
        }
    }

    fn judge(&mut self, effects: Vec<Effect>) -> Result<(), TestCaseError> {
        for effect in effects {
            match effect {
                Effect::Open { generation, .. } => {
                    prop_assert_eq!((self.open, self.closing), (None, None));
                    self.open = Some(generation);
                }
                Effect::Close { generation } => {
                    prop_assert_eq!(self.open, Some(generation));
                    (self.open, self.closing) = (None, Some(generation));
                }
                Effect::Answer { ticket, .. } => prop_assert!(self.unanswered.remove(&ticket)),
                _ => {}
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever comes in whatever order: at most one link is open, it is closed before the next is
    /// opened, and each order is answered once.
    #[test]
    fn at_most_one_link_lives_and_every_order_is_answered(
        paired: bool,
        inputs in prop::collection::vec((any_input(), any::<bool>()), 1..80),
    ) {
        let (mut bench, mut shell) = (Bench::stopped(paired), Shell::default());
        for (input, write) in inputs {
            if shell.may_give(&input) {
                shell.judge(bench.take(input))?;
            }
            if write {
                shell.judge(bench.written())?;
            }
        }
        // What was begun comes to its end.
        for _ in 0..100 {
            shell.judge(bench.written())?;
            if let Some(generation) = shell.open {
                shell.judge(bench.take(Input::LogoutTold { generation }))?;
            }
            if let Some(generation) = shell.closing.take() {
                shell.judge(bench.take(Input::Closed { generation }))?;
            }
        }
        prop_assert!(shell.unanswered.is_empty(), "{:?}", shell.unanswered);
    }
}
