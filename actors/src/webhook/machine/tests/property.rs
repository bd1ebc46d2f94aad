//! Whatever an endpoint answers and wherever the process dies: order is kept, and everything ends.

use proptest::prelude::*;
use roost_domain::webhook::DeliveryStatus;

use super::*;

#[derive(Debug, Clone)]
enum Move {
    Append(u64),
    /// Answers one of those under way.
    Answer(usize, u8),
    Pass(u64),
    /// The database is away, or back.
    Commits(bool),
    Crash,
    Redrive(usize),
    Replay(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (0_u64..4).prop_map(Move::Append),
        8 => (0_usize..8, 0_u8..20).prop_map(|(which, verdict)| Move::Answer(which, verdict)),
        4 => (1_u64..400).prop_map(Move::Pass),
        1 => any::<bool>().prop_map(Move::Commits),
        1 => Just(Move::Crash),
        1 => (0_usize..100).prop_map(Move::Redrive),
        1 => (0_usize..100).prop_map(Move::Replay),
    ];
    prop::collection::vec(one, 1..300)
}

fn small() -> WebhookSettings {
    let ms = Duration::from_millis;
    WebhookSettings {
        schedule: vec![ms(0), ms(100), ms(200), ms(400)],
        breaker_window: 10,
        probe_first: ms(50),
        probe_max: ms(500),
        read_ahead: 8,
        parked_max: 20,
        unsettled_max: 16,
        settle_batch: 4,
        bodies_max: 6,
        retry_after_max: ms(300),
        ..WebhookSettings::default()
    }
}

fn verdict(number: u8) -> Verdict {
    match number {
        0..=9 => Verdict::Delivered,
        10 => Verdict::Pause(Duration::from_millis(100)),
        _ => Verdict::Failed,
    }
}

fn run(ordered: bool, concurrency: usize, moves: Vec<Move>) -> Bench {
    let mut bench = Bench::new(small(), rules(ordered, concurrency));
    let mut redriven = 0;
    for step in moves {
        match step {
            Move::Append(chat) => {
                bench.append(chat);
                bench.step();
            }
            Move::Answer(which, number) => {
                if let Some(&seq) = bench.flying.keys().nth(which % bench.flying.len().max(1)) {
                    bench.answer(seq, verdict(number));
                }
            }
            Move::Pass(ms) => bench.pass(Duration::from_millis(ms)),
            Move::Commits(commits) => {
                bench.commits = commits;
                bench.step();
            }
            Move::Crash => bench.crash(),
            // Those that ended may be driven again.
            Move::Redrive(which) | Move::Replay(which) => {
                let ended: Vec<i64> = bench.ended.iter().copied().collect();
                if let Some(&seq) = ended.get(which % ended.len().max(1)) {
                    redriven += 1;
                    if matches!(step, Move::Redrive(_)) {
                        bench.redrive(&[seq]);
                    } else if bench.replays.is_empty() {
                        bench.replay(seq, seq, ReplayScope::Dead);
                    }
                }
            }
        }
        let view = bench.machine.view();
        let most = bench.settings.parked_max + concurrency + redriven;
        assert!(view.parked <= most, "{} of {most} parked", view.parked);
        assert!(bench.machine.queue.hot() <= bench.settings.read_ahead);
        assert!(bench.machine.ledger.unsettled() <= bench.settings.unsettled_max + redriven);
    }
    bench.recover();
    bench
}

fn everything_ended(bench: &Bench) {
    let view = bench.machine.view();
    assert_eq!((view.in_flight, view.parked), (0, 0), "{:#?}", bench.machine);
    assert_eq!(bench.machine.queue.hot(), 0);
    for event in &bench.log {
        let status = bench.status(event.seq);
        assert!(
            matches!(status, Some(DeliveryStatus::Delivered | DeliveryStatus::Dead)),
            "{} is {status:?}",
            event.seq
        );
        assert!(bench.posted.contains(&event.seq));
    }
    assert!(bench.replays.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn ordered_keeps_the_order_of_each_chat_and_loses_nothing(moves in moves(), concurrency in 1_usize..6) {
        everything_ended(&run(true, concurrency, moves));
    }

    #[test]
    fn unordered_loses_nothing(moves in moves(), concurrency in 1_usize..6) {
        everything_ended(&run(false, concurrency, moves));
    }
}
