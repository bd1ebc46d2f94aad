//! How long numbers were away, from the logins that the sandbox wrote down.

use std::time::Duration;

use crate::api::Login;

/// Logins that were accepted, of one number, in order.
pub type History = Vec<Login>;

/// Keeps what counts: logins that the sandbox refused connected nobody.
pub fn history(logins: Vec<Login>) -> History {
    let mut accepted: History = logins
        .into_iter()
        .filter(|login| login.result == "accepted")
        .collect();
    accepted.sort_unstable_by_key(|login| login.order);
    accepted
}

/// Whether the number is connected by a login since a moment.
pub fn is_back(history: &[Login], since_us: u64) -> bool {
    let latest = history.last();
    latest.is_some_and(|login| login.at_us >= since_us && login.ended_at_us.is_none())
}

/// How long each number was away that logged in again within a span: from the end of its connection to the
/// next login, all of its gaps together.
pub fn gaps<'a>(histories: impl IntoIterator<Item = &'a History>, from_us: u64, to_us: u64) -> Vec<Duration> {
    let mut gaps = Vec::new();
    for history in histories {
        let pairs = history.windows(2);
        let mut during = pairs
            .filter(|pair| (from_us..to_us).contains(&pair[1].at_us))
            .map(|pair| {
                let ended_us = pair[0].ended_at_us.unwrap_or(pair[1].at_us);
                Duration::from_micros(pair[1].at_us.saturating_sub(ended_us))
            })
            .peekable();
        if during.peek().is_some() {
            gaps.push(during.sum());
        }
    }
    gaps
}

/// From a moment until each number dialled, and until it logged in, of those that did: with the connection
/// by which it logged in first.
pub fn comebacks<'a>(
    histories: impl IntoIterator<Item = &'a History>,
    since_us: u64,
) -> Vec<(Duration, Duration)> {
    let first = |history: &'a History| history.iter().find(|login| login.at_us >= since_us);
    let logins = histories.into_iter().filter_map(first);
    let since = |at_us: u64| Duration::from_micros(at_us.saturating_sub(since_us));
    logins
        .map(|login| (since(login.opened_at_us), since(login.at_us)))
        .collect()
}

/// Logins that came while an earlier connection of the same number was open.
pub fn overlaps<'a>(histories: impl IntoIterator<Item = &'a History>) -> usize {
    let overlap = |pair: &&[Login]| pair[0].ended_order.is_none_or(|ended| ended > pair[1].order);
    let each = histories.into_iter();
    each.map(|history| history.windows(2).filter(overlap).count())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(order: u64, at_us: u64, ended: Option<(u64, u64)>) -> Login {
        Login {
            order,
            at_us,
            opened_at_us: at_us - 20,
            result: "accepted".to_owned(),
            ended_order: ended.map(|(order, _)| order),
            ended_at_us: ended.map(|(_, at_us)| at_us),
        }
    }

    #[test]
    fn a_gap_is_from_the_end_of_a_connection_to_the_next_login() {
        let stayed = vec![login(1, 100, None)];
        let moved = vec![login(2, 100, Some((5, 2_000))), login(6, 2_500, None)];
        let twice = vec![
            login(3, 100, Some((7, 3_000))),
            login(8, 3_100, Some((9, 3_200))),
            login(10, 3_600, None),
        ];
        let all = [stayed, moved, twice];
        let micros = |from, to| {
            gaps(&all, from, to)
                .iter()
                .map(Duration::as_micros)
                .collect::<Vec<_>>()
        };
        assert_eq!(micros(1_000, 4_000), [500, 500]);
        assert_eq!(micros(3_000, 3_500), [100]);
        assert!(micros(0, 1_000).is_empty());
        assert_eq!(overlaps(&all), 0);
    }

    #[test]
    fn a_login_beside_an_open_connection_is_an_overlap_and_no_gap() {
        let late = vec![login(1, 100, Some((9, 900))), login(5, 500, None)];
        let never = vec![login(2, 100, None), login(6, 600, None)];
        assert_eq!(overlaps([&late, &never]), 2);
        assert_eq!(gaps([&late], 0, 1_000), [Duration::ZERO]);
    }

    #[test]
    fn a_number_is_back_when_it_is_connected_by_a_later_login() {
        let back = vec![login(1, 100, Some((2, 200))), login(3, 300, None)];
        let gone = vec![login(1, 100, Some((2, 200)))];
        let lost_again = vec![login(1, 300, Some((2, 400)))];
        assert!(is_back(&back, 250) && !is_back(&back, 301));
        assert!(!is_back(&gone, 50) && !is_back(&lost_again, 250) && !is_back(&[], 0));
        let micros = Duration::from_micros;
        assert_eq!(comebacks([&back, &gone], 250), [(micros(30), micros(50))]);
    }

    #[test]
    fn refused_logins_do_not_count() {
        let mut refused = login(2, 200, None);
        refused.result = "refused".to_owned();
        let history = history(vec![login(3, 300, None), refused, login(1, 100, Some((2, 150)))]);
        let orders: Vec<u64> = history.iter().map(|login| login.order).collect();
        assert_eq!(orders, [1, 3]);
    }
}
