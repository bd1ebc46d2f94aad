//! Tables of the session's life.

use std::time::Duration;

use roost_domain::engine::{LinkEnd, LinkFact, OpenError};
use roost_domain::instance::{Account, AccountChange, DesiredState, InstanceState, PairingMethod};
use tokio::time::Instant;

use super::super::machine::{CodeKind, Effect, Exit, Input, Machine, Order, Refusal, Step, Surroundings};
use super::FixedEntropy;
use crate::Settings;

pub(super) struct Bench {
    machine: Machine,
    settings: Settings,
    now: Instant,
    /// Writes that are not answered yet.
    unwritten: Vec<Option<u64>>,
}

impl Bench {
    fn new(state: InstanceState, desired: DesiredState, paired: bool) -> (Self, Vec<Effect>) {
        let machine = Machine::new();
        let (settings, now) = (Settings::default(), Instant::now());
        let mut bench = Self {
            machine,
            settings,
            now,
            unwritten: Vec::new(),
        };
        let effects = bench.take(Input::Loaded {
            state,
            desired,
            paired,
        });
        (bench, effects)
    }

    pub(super) fn stopped(paired: bool) -> Self {
        let state = if paired {
            InstanceState::Disconnected
        } else {
            InstanceState::Created
        };
        Self::new(state, DesiredState::Stopped, paired).0
    }

    pub(super) fn take(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let entropy = FixedEntropy(0x55);
        let around = Surroundings {
            now: self.now,
            settings: &self.settings,
            entropy: &entropy,
        };
        self.machine.take(input, &around, &mut effects);
        for effect in &effects {
            if let Effect::Write { ticket, .. } = effect {
                self.unwritten.push(*ticket);
            }
        }
        effects
    }

    /// Answers every write until none is left.
    pub(super) fn written(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while !self.unwritten.is_empty() {
            let ticket = self.unwritten.remove(0);
            effects.extend(self.take(Input::Written {
                ticket,
                result: Ok(()),
            }));
        }
        effects
    }

    fn link(&mut self, generation: u64, fact: LinkFact) -> Vec<Effect> {
        self.take(Input::Link { generation, fact })
    }

    fn ended(&mut self, generation: u64, end: LinkEnd) -> Vec<Effect> {
        self.link(generation, LinkFact::Ended(end))
    }

    /// A paired session that was connected by an order.
    fn up() -> (Self, u64) {
        let mut bench = Self::stopped(true);
        bench.take(Input::Order {
            ticket: 1,
            order: Order::Connect(None),
        });
        let generation = gate(&bench.written());
        bench.take(Input::GatePassed { generation });
        bench.link(generation, LinkFact::Connected(account()));
        bench.written();
        assert_eq!(bench.machine.up(), Some(generation));
        (bench, generation)
    }
}

pub(super) fn account() -> Account {
    Account {
        phone_number: "+4915112345678".parse().unwrap(),
        lid: None,
        push_name: None,
    }
}

fn gate(effects: &[Effect]) -> u64 {
    effects
        .iter()
        .find_map(|effect| {
            if let Effect::EnterGate { generation } = effect {
                Some(*generation)
            } else {
                None
            }
        })
        .unwrap_or_else(|| panic!("no gate in {effects:?}"))
}

fn steps(effects: &[Effect]) -> Vec<&Step> {
    effects
        .iter()
        .filter_map(|effect| {
            if let Effect::Write { step, .. } = effect {
                Some(step)
            } else {
                None
            }
        })
        .collect()
}

fn armed(effects: &[Effect]) -> Option<(u64, Instant)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Arm { generation, at } => Some((*generation, *at)),
        _ => None,
    })
}

#[test]
fn an_unpaired_instance_pairs_by_qr_and_becomes_connected() {
    let mut bench = Bench::stopped(false);
    let effects = bench.take(Input::Order {
        ticket: 7,
        order: Order::Connect(None),
    });
    let [step] = steps(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (step.state, step.desired),
        (InstanceState::Connecting, Some(DesiredState::Running))
    );
    let effects = bench.written();
    assert!(effects.contains(&Effect::Answer {
        ticket: 7,
        result: Ok(())
    }));
    let generation = gate(&effects);
    let effects = bench.take(Input::GatePassed { generation });
    assert_eq!(
        effects[0],
        Effect::Open {
            generation,
            pairing: Some(PairingMethod::Qr)
        }
    );

    let valid_for = Duration::from_secs(20);
    let effects = bench.link(
        generation,
        LinkFact::Qr {
            code: "2@a".into(),
            valid_for,
        },
    );
    assert_eq!(steps(&effects)[0].state, InstanceState::Pairing);
    assert!(effects.contains(&Effect::LeaveGate));
    let effects = bench.link(
        generation,
        LinkFact::Qr {
            code: "2@b".into(),
            valid_for,
        },
    );
    assert_eq!(
        effects,
        [Effect::ShowCode {
            kind: CodeKind::Qr,
            code: "2@b".into(),
            valid_for
        }]
    );

    let effects = bench.link(generation, LinkFact::Paired(account()));
    assert_eq!(steps(&effects)[0].account, AccountChange::Paired(account()));
    assert!(effects.contains(&Effect::HideCode));
    let effects = bench.link(generation, LinkFact::Connected(account()));
    assert_eq!(steps(&effects)[0].state, InstanceState::Connected);
    assert!(effects.contains(&Effect::LinkUp { generation }));
    assert_eq!(bench.machine.refuses_messages(), None);
}

#[test]
fn a_running_paired_instance_comes_back_without_an_order() {
    for state in [
        InstanceState::Connected,
        InstanceState::Connecting,
        InstanceState::Restricted,
    ] {
        let (mut bench, effects) = Bench::new(state, DesiredState::Running, true);
        assert_eq!(steps(&effects)[0].state, InstanceState::Reconnecting, "{state:?}");
        assert!(
            !effects
                .iter()
                .any(|effect| matches!(effect, Effect::EnterGate { .. }))
        );
        let generation = gate(&bench.written());
        let effects = bench.take(Input::GatePassed { generation });
        assert_eq!(
            effects[0],
            Effect::Open {
                generation,
                pairing: None
            }
        );
    }
}

#[test]
fn pairing_that_a_restart_interrupted_is_given_up() {
    let (bench, effects) = Bench::new(InstanceState::Pairing, DesiredState::Running, false);
    let step = steps(&effects)[0];
    assert_eq!(
        (step.state, step.desired),
        (InstanceState::Disconnected, Some(DesiredState::Stopped))
    );
    assert!(
        step.reason
            .as_ref()
            .is_some_and(|reason| reason.contains("connect again"))
    );
    assert!(bench.machine.refuses_messages().is_some());
}

#[test]
fn connecting_while_connected_changes_nothing() {
    let (mut bench, _) = Bench::up();
    let effects = bench.take(Input::Order {
        ticket: 2,
        order: Order::Connect(Some(PairingMethod::Qr)),
    });
    assert_eq!(
        effects,
        [Effect::Answer {
            ticket: 2,
            result: Ok(())
        }]
    );
}

#[test]
fn an_order_that_cannot_be_written_has_no_effect() {
    let mut bench = Bench::stopped(true);
    bench.take(Input::Order {
        ticket: 1,
        order: Order::Connect(None),
    });
    bench.unwritten.clear();
    let effects = bench.take(Input::Written {
        ticket: Some(1),
        result: Err("locked".into()),
    });
    let refused = Err(Refusal::Unavailable("locked".into()));
    assert_eq!(
        effects,
        [Effect::Answer {
            ticket: 1,
            result: refused
        }]
    );
    assert!(bench.machine.rests());
}

#[test]
fn the_end_of_a_link_decides_what_follows() {
    use InstanceState as S;
    let reason = || "why".to_owned();
    let hour = Duration::from_secs(3600);
    // End, state, whether it is wanted no more, whether the pairing is over, whether it comes back.
    let table = [
        (
            LinkEnd::Lost { reason: reason() },
            S::Reconnecting,
            false,
            false,
            true,
        ),
        (
            LinkEnd::Broken { reason: reason() },
            S::Reconnecting,
            false,
            false,
            true,
        ),
        (LinkEnd::Closed, S::Reconnecting, false, false, true),
        (
            LinkEnd::LoggedOut { reason: reason() },
            S::LoggedOut,
            true,
            true,
            false,
        ),
        (LinkEnd::NotPaired, S::LoggedOut, true, true, false),
        (LinkEnd::Replaced, S::Disconnected, true, false, false),
        (
            LinkEnd::Banned {
                reason: reason(),
                lasts: Some(hour),
            },
            S::Restricted,
            false,
            false,
            true,
        ),
        (
            LinkEnd::Banned {
                reason: reason(),
                lasts: None,
            },
            S::Restricted,
            true,
            false,
            false,
        ),
        (LinkEnd::Outdated, S::Failed, false, false, false),
    ];
    for (end, state, stopped, unpaired, comes_back) in table {
        let (mut bench, generation) = Bench::up();
        let effects = bench.ended(generation, end.clone());
        let [step] = steps(&effects)[..] else {
            panic!("{end:?}: {effects:?}")
        };
        assert_eq!(step.state, state, "{end:?}");
        assert_eq!(step.desired == Some(DesiredState::Stopped), stopped, "{end:?}");
        assert_eq!(step.account == AccountChange::Unpaired, unpaired, "{end:?}");
        assert!(step.reason.is_some(), "{end:?}");
        assert!(effects.contains(&Effect::LinkDown) && effects.contains(&Effect::Close { generation }));
        bench.written();
        let effects = bench.take(Input::Closed { generation });
        assert_eq!(armed(&effects).is_some(), comes_back, "{end:?}: {effects:?}");
        assert_eq!(bench.machine.rests(), !comes_back, "{end:?}");
    }
}

#[test]
fn a_ban_that_ends_is_waited_for() {
    let (mut bench, generation) = Bench::up();
    let lasts = Duration::from_secs(3600);
    bench.ended(
        generation,
        LinkEnd::Banned {
            reason: "too fast".into(),
            lasts: Some(lasts),
        },
    );
    bench.written();
    let (timer, at) = armed(&bench.take(Input::Closed { generation })).unwrap();
    assert!(at >= bench.now + lasts);
    assert!(bench.machine.refuses_messages().is_some());
    let effects = bench.take(Input::Timer { generation: timer });
    assert!(matches!(effects[..], [Effect::EnterGate { .. }]), "{effects:?}");
}

#[test]
fn a_fenced_session_ends_without_a_word() {
    let (mut bench, generation) = Bench::up();
    let effects = bench.ended(generation, LinkEnd::Fenced);
    assert!(steps(&effects).is_empty());
    assert!(effects.contains(&Effect::Exit(Exit::Fenced)));
}

#[test]
fn waits_grow_with_failures_and_shrink_after_health() {
    let (mut bench, mut generation) = Bench::up();
    let mut waits = Vec::new();
    for _ in 0..4 {
        bench.ended(
            generation,
            LinkEnd::Lost {
                reason: "reset".into(),
            },
        );
        bench.written();
        let (timer, at) = armed(&bench.take(Input::Closed { generation })).unwrap();
        waits.push(at - bench.now);
        generation = gate(&bench.take(Input::Timer { generation: timer }));
        bench.take(Input::GatePassed { generation });
    }
    assert!(
        waits.windows(2).all(|pair| pair[0] <= pair[1]) && waits[0] < waits[3],
        "{waits:?}"
    );
    bench.link(generation, LinkFact::Connected(account()));
    bench.written();
    bench.now += bench.settings.backoff_reset_after;
    bench.ended(
        generation,
        LinkEnd::Lost {
            reason: "reset".into(),
        },
    );
    bench.written();
    let (_, at) = armed(&bench.take(Input::Closed { generation })).unwrap();
    assert_eq!(at - bench.now, waits[0]);
}

#[test]
fn facts_of_an_earlier_link_are_dropped() {
    let (mut bench, old) = Bench::up();
    bench.ended(
        old,
        LinkEnd::Lost {
            reason: "reset".into(),
        },
    );
    bench.written();
    let (timer, _) = armed(&bench.take(Input::Closed { generation: old })).unwrap();
    let generation = gate(&bench.take(Input::Timer { generation: timer }));
    bench.take(Input::GatePassed { generation });
    assert_eq!(
        bench.ended(
            old,
            LinkEnd::LoggedOut {
                reason: "late".into()
            }
        ),
        []
    );
    assert_eq!(bench.link(old, LinkFact::Connected(account())), []);
    assert_eq!(bench.take(Input::Timer { generation: timer }), []);
}

#[test]
fn a_lost_link_waits_for_the_store_before_it_is_dialled_again() {
    let (mut bench, generation) = Bench::up();
    bench.ended(
        generation,
        LinkEnd::Lost {
            reason: "reset".into(),
        },
    );
    let (timer, _) = armed(&bench.take(Input::Closed { generation })).unwrap();
    assert_eq!(bench.take(Input::Timer { generation: timer }), []);
    gate(&bench.written());
}

#[test]
fn a_disconnect_is_durable_before_the_link_is_closed() {
    let (mut bench, generation) = Bench::up();
    let effects = bench.take(Input::Order {
        ticket: 3,
        order: Order::Disconnect,
    });
    assert!(
        matches!(
            effects[..],
            [Effect::Write {
                ticket: Some(3),
                once: true,
                ..
            }]
        ),
        "{effects:?}"
    );
    // What the link says meanwhile cannot overtake the order.
    assert_eq!(
        bench.ended(
            generation,
            LinkEnd::Lost {
                reason: "reset".into()
            }
        ),
        []
    );
    let effects = bench.written();
    assert!(effects.contains(&Effect::Close { generation }));
    assert_eq!(steps(&effects).len(), 0, "{effects:?}");
    bench.take(Input::Closed { generation });
    assert!(bench.machine.rests());
}

#[test]
fn a_logout_tells_whatsapp_closes_the_link_and_then_removes_the_pairing() {
    let (mut bench, generation) = Bench::up();
    let effects = bench.take(Input::Order {
        ticket: 4,
        order: Order::Logout,
    });
    assert!(effects.contains(&Effect::TellLogout { generation }));
    assert_eq!(
        bench.ended(
            generation,
            LinkEnd::LoggedOut {
                reason: "by us".into()
            }
        ),
        []
    );
    assert_eq!(
        bench.take(Input::LogoutTold { generation }),
        [Effect::Close { generation }]
    );
    let effects = bench.take(Input::Closed { generation });
    let step = steps(&effects)[0];
    assert_eq!(
        (step.state, &step.account),
        (InstanceState::LoggedOut, &AccountChange::Unpaired)
    );
    assert!(effects.contains(&Effect::FailPending));
    assert!(bench.written().contains(&Effect::Answer {
        ticket: 4,
        result: Ok(())
    }));
    assert!(bench.machine.rests());
}

#[test]
fn a_delete_ends_the_session() {
    let (mut bench, generation) = Bench::up();
    bench.take(Input::Order {
        ticket: 5,
        order: Order::Delete,
    });
    bench.take(Input::LogoutTold { generation });
    assert_eq!(
        bench.take(Input::Closed { generation }),
        [Effect::DeleteRow { ticket: 5 }]
    );
    let effects = bench.take(Input::Deleted {
        ticket: 5,
        result: Ok(()),
    });
    assert_eq!(
        effects,
        [
            Effect::Answer {
                ticket: 5,
                result: Ok(())
            },
            Effect::Exit(Exit::Done)
        ]
    );
}

#[test]
fn another_method_restarts_pairing_and_the_same_one_does_not() {
    let mut bench = Bench::stopped(false);
    bench.take(Input::Order {
        ticket: 1,
        order: Order::Connect(None),
    });
    let generation = gate(&bench.written());
    bench.take(Input::GatePassed { generation });
    bench.link(
        generation,
        LinkFact::Qr {
            code: "2@a".into(),
            valid_for: Duration::from_secs(20),
        },
    );
    bench.written();
    let same = bench.take(Input::Order {
        ticket: 2,
        order: Order::Connect(Some(PairingMethod::Qr)),
    });
    assert_eq!(
        same,
        [Effect::Answer {
            ticket: 2,
            result: Ok(())
        }]
    );
    let method = PairingMethod::Code {
        phone_number: "+4915112345678".parse().unwrap(),
    };
    let other = bench.take(Input::Order {
        ticket: 3,
        order: Order::Connect(Some(method.clone())),
    });
    assert!(other.contains(&Effect::Close { generation }));
    bench.written();
    let generation = gate(&bench.take(Input::Closed { generation }));
    let effects = bench.take(Input::GatePassed { generation });
    assert_eq!(
        effects[0],
        Effect::Open {
            generation,
            pairing: Some(method)
        }
    );
}

#[test]
fn a_proxy_that_is_none_needs_a_person_and_a_database_that_is_away_does_not() {
    for (error, state) in [
        (OpenError::Proxy("x".into()), InstanceState::Failed),
        (OpenError::Unavailable("x".into()), InstanceState::Reconnecting),
    ] {
        let mut bench = Bench::stopped(true);
        bench.take(Input::Order {
            ticket: 1,
            order: Order::Connect(None),
        });
        let generation = gate(&bench.written());
        bench.take(Input::GatePassed { generation });
        let effects = bench.take(Input::OpenFailed { generation, error });
        assert_eq!(steps(&effects)[0].state, state);
        assert_eq!(armed(&effects).is_some(), state == InstanceState::Reconnecting);
        assert!(effects.contains(&Effect::LeaveGate));
    }
}

#[test]
fn a_shutdown_closes_the_link_keeps_the_wish_and_ends() {
    let (mut bench, generation) = Bench::up();
    let effects = bench.take(Input::Shutdown { succeeded: true });
    let step = steps(&effects)[0];
    assert_eq!((step.state, step.desired), (InstanceState::Reconnecting, None));
    assert!(effects.contains(&Effect::Close { generation }));
    assert!(bench.machine.refuses_messages().is_some());
    assert_eq!(bench.take(Input::Closed { generation }), []);
    assert_eq!(bench.written(), [Effect::Exit(Exit::Done)]);
}

#[test]
fn a_session_without_a_successor_leaves_what_became_of_it_to_others() {
    let (mut bench, generation) = Bench::up();
    let effects = bench.take(Input::Shutdown { succeeded: false });
    assert!(steps(&effects).is_empty());
    assert!(effects.contains(&Effect::Close { generation }));
}
