//! Nodes and actors as rows of text, for the screen and for scripts.

use std::fmt::Write;

use roost_actors::operator::{LeaseState, NodeStatus, NodeView};
use roost_actors::{ActorView, Grade};

use super::board::Board;

/// Columns of the nodes: title and width on a screen.
pub(super) const NODES: [(&str, u16); 11] = [
    ("NODE", 16),
    ("STATUS", 11),
    ("LEASE", 8),
    ("SLOTS", 9),
    ("SESSIONS", 8),
    ("WEBHOOKS", 8),
    ("BUCKETS", 7),
    ("DIALING", 9),
    ("RTT", 8),
    ("VERSION", 8),
    ("NOTE", 24),
];

/// Columns of the actors.
pub(super) const ACTORS: [(&str, u16); 9] = [
    ("ACTOR", 40),
    ("NODE", 16),
    ("STATE", 14),
    ("UPTIME", 8),
    ("RESTARTS", 8),
    ("MAILBOX", 7),
    ("OLDEST", 8),
    ("HANDLED", 9),
    ("NOTE", 40),
];

const NOTHING: &str = "-";

/// How much a row stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Notice,
    Alarm,
}

pub(super) fn node_tone(row: &NodeView) -> Tone {
    let ready = row.load.as_ref().is_some_and(|load| load.ready);
    if row.status == NodeStatus::Unreachable {
        Tone::Alarm
    } else if row.draining || !ready || row.slots.owned != row.slots.desired {
        Tone::Notice
    } else {
        Tone::Plain
    }
}

pub(super) fn actor_tone(row: &ActorView) -> Tone {
    match row.urgency().grade() {
        Grade::Quarantined | Grade::Stuck => Tone::Alarm,
        Grade::BacksOff => Tone::Notice,
        Grade::Fine => Tone::Plain,
    }
}

pub(super) fn node_cells(row: &NodeView) -> [String; NODES.len()] {
    let load = row.load.as_ref();
    let number = |count: Option<usize>| count.map_or(NOTHING.to_owned(), |count| count.to_string());
    let name = if row.here {
        format!("{}*", row.node)
    } else {
        row.node.clone()
    };
    let status = match (row.status, row.draining) {
        (NodeStatus::Unreachable, _) => "unreachable",
        (NodeStatus::Ok, true) => "draining",
        (NodeStatus::Ok, false) if load.is_some_and(|load| !load.ready) => "starting",
        (NodeStatus::Ok, false) => "ok",
    };
    let lease = match &row.lease {
        None => NOTHING.to_owned(),
        Some(lease) => match (lease.state, lease.expires_in_ms) {
            (LeaseState::Live, Some(ms)) => seconds(ms),
            _ => "expired".to_owned(),
        },
    };
    let rtt = row.link.as_ref().and_then(|link| link.rtt_us);
    let dialing = load.map(|load| format!("{}+{}", load.gate.dialing, load.gate.waiting));
    [
        name,
        status.to_owned(),
        lease,
        format!("{}/{}", row.slots.owned, row.slots.desired),
        number(load.map(|load| load.sessions.count)),
        number(load.map(|load| load.webhooks.count)),
        number(load.map(|load| load.buckets.count)),
        dialing.unwrap_or_else(|| NOTHING.to_owned()),
        rtt.map_or(NOTHING.to_owned(), millis),
        row.version.clone(),
        row.error.clone().unwrap_or_default(),
    ]
}

pub(super) fn actor_cells(row: &ActorView) -> [String; ACTORS.len()] {
    [
        row.path.clone(),
        row.node.clone(),
        row.state.to_string(),
        row.uptime_ms.map_or(NOTHING.to_owned(), seconds),
        row.restarts.to_string(),
        row.mailbox.depth.to_string(),
        match row.mailbox.depth {
            0 => NOTHING.to_owned(),
            _ => seconds(row.mailbox.oldest_ms),
        },
        row.handled.to_string(),
        note(row),
    ]
}

fn note(row: &ActorView) -> String {
    let used_up = row
        .permits
        .iter()
        .find(|permit| permit.max > 0 && permit.used == permit.max);
    match (&row.last_error, used_up) {
        (Some(error), _) => format!("{}: {}", error.class, one_line(&error.text)),
        (None, Some(permit)) => format!("no {} permits left", permit.class),
        (None, None) => String::new(),
    }
}

/// Control characters would move things about on a terminal.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}

/// A time, to two places: `850ms`, `12.0s`, `5m10s`, `3h02m`, `12d04h`.
fn seconds(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}.{}s", ms % 1_000 / 100),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3_600),
    }
}

fn millis(us: u64) -> String {
    format!("{}.{:02}ms", us / 1_000, us % 1_000 / 10)
}

/// Everything as plain text: columns wide enough for their longest cell.
pub(super) fn plain(board: &Board) -> String {
    let mut text = format!("{}\n\n", board.headline().0);
    let nodes: Vec<_> = board.nodes().iter().map(node_cells).collect();
    lines(&mut text, NODES.map(|(title, _)| title), &nodes);
    let _ = writeln!(text, "\n{}", board.actors_title());
    let actors: Vec<_> = board.actors().iter().map(actor_cells).collect();
    lines(&mut text, ACTORS.map(|(title, _)| title), &actors);
    text
}

fn lines<const N: usize>(text: &mut String, titles: [&str; N], rows: &[[String; N]]) {
    let mut widths = titles.map(|title| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let titles = titles.map(str::to_owned);
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a text does not fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
