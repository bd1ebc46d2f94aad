//! What `roost top` shows and how: what was seen last, the order, the filter and the place. Knows no
//! terminal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use roost_actors::ActorView;
use roost_actors::operator::{NodeAnswer, NodeStatus, NodeView};

use crate::cli::gateway::GatewayError;

/// Kinds of actors that one can choose from.
const KINDS: [&str; 4] = ["instance", "webhook", "bucket", "registry"];
/// Rows that a page key moves by.
const PAGE_ROWS: usize = 10;

/// What a gateway has shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) nodes: Vec<NodeView>,
    pub(super) actors: Vec<ActorView>,
    /// Nodes that were asked for their actors.
    pub(super) silent: Vec<NodeAnswer>,
}

/// Which actors are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) kind: Option<String>,
    pub(super) state: Option<String>,
}

/// Order of the actors; of all that is shown, the gateway has chosen the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// Those first that most need somebody to look at them.
    Worst,
    /// By path.
    Path,
    /// By how long the oldest message waits.
    Mailbox,
    /// By restarts.
    Restarts,
    /// By messages handled.
    Handled,
}

impl Order {
    fn next(self) -> Self {
        match self {
            Self::Worst => Self::Path,
            Self::Path => Self::Mailbox,
            Self::Mailbox => Self::Restarts,
            Self::Restarts => Self::Handled,
            Self::Handled => Self::Worst,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Worst => "worst",
            Self::Path => "path",
            Self::Mailbox => "mailbox",
            Self::Restarts => "restarts",
            Self::Handled => "handled",
        }
    }
}

/// See the module.
pub(super) struct Board {
    gateway: String,
    filter: Filter,
    order: Order,
    seen: Seen,
    seen_at: Option<Instant>,
    fault: Option<String>,
    /// States that were seen since the start: one can choose from them.
    states: BTreeSet<String>,
    place: usize,
}

impl Board {
    pub(super) fn new(gateway: String, filter: Filter, order: Order) -> Self {
        let states = filter.state.iter().cloned().collect();
        Self {
            gateway,
            filter,
            order,
            seen: Seen::default(),
            seen_at: None,
            fault: None,
            states,
            place: 0,
        }
    }

    /// The gateway has answered.
    pub(super) fn see(&mut self, seen: Seen) {
        self.states
            .extend(seen.actors.iter().map(|actor| actor.state.to_string()));
        self.seen = seen;
        self.seen_at = Some(Instant::now());
        self.fault = None;
        self.sort();
    }

    /// The gateway has not answered.
    pub(super) fn miss(&mut self, error: &Arc<GatewayError>) {
        self.fault = Some(error.to_string());
    }

    /// Does what a key is for; `true` when that is to end.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return true,
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('s') => {
                self.order = self.order.next();
                self.sort();
            }
            KeyCode::Char('k') => self.filter.kind = next(self.filter.kind.as_deref(), KINDS),
            KeyCode::Char('t') => {
                let states = self.states.iter().map(String::as_str);
                self.filter.state = next(self.filter.state.as_deref(), states);
            }
            KeyCode::Down => self.move_by(1),
            KeyCode::Up => self.place = self.place.saturating_sub(1),
            KeyCode::PageDown => self.move_by(PAGE_ROWS),
            KeyCode::PageUp => self.place = self.place.saturating_sub(PAGE_ROWS),
            KeyCode::Home => self.place = 0,
            _ => {}
        }
        false
    }

    fn move_by(&mut self, rows: usize) {
        self.place = (self.place + rows).min(self.seen.actors.len().saturating_sub(1));
    }

    fn sort(&mut self) {
        use std::cmp::Reverse;
        let actors = &mut self.seen.actors;
        let place = |row: &ActorView| (row.path.clone(), row.node.clone());
        match self.order {
            Order::Worst => actors.sort_by_cached_key(|row| (Reverse(row.urgency()), place(row))),
            Order::Path => actors.sort_by_cached_key(place),
            Order::Mailbox => {
                actors.sort_by_cached_key(|row| {
                    (Reverse((row.mailbox.oldest_ms, row.mailbox.depth)), place(row))
                });
            }
            Order::Restarts => actors.sort_by_cached_key(|row| (Reverse(row.restarts), place(row))),
            Order::Handled => actors.sort_by_cached_key(|row| (Reverse(row.handled), place(row))),
        }
        self.place = self.place.min(self.seen.actors.len().saturating_sub(1));
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(super) fn nodes(&self) -> &[NodeView] {
        &self.seen.nodes
    }

    pub(super) fn actors(&self) -> &[ActorView] {
        &self.seen.actors
    }

    /// The row that the list begins at, at least.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// Whether the gateway has ever answered.
    pub(super) fn is_blank(&self) -> bool {
        self.seen_at.is_none()
    }

    /// What is shown of the actors, in words.
    pub(super) fn actors_title(&self) -> String {
        let kind = self.filter.kind.as_deref().unwrap_or("every kind");
        let state = self.filter.state.as_deref().unwrap_or("every state");
        let count = self.seen.actors.len();
        let mut title = format!(
            "actors: {count} of {kind}, in {state}, sorted by {}",
            self.order.name()
        );
        let silent = self.seen.silent.iter();
        let silent: Vec<&str> = silent
            .filter(|node| node.status == NodeStatus::Unreachable)
            .map(|node| node.node.as_str())
            .collect();
        if !silent.is_empty() {
            title.push_str(&format!("; none of {}, which did not answer", silent.join(", ")));
        }
        title
    }

    /// How the gateway does as a whole; whether that is bad.
    pub(super) fn headline(&self) -> (String, bool) {
        if let Some(fault) = &self.fault {
            let last = match self.seen_at {
                Some(at) => format!("; what is shown was seen {} s ago", at.elapsed().as_secs()),
                None => String::new(),
            };
            return (format!("{fault}{last}"), true);
        }
        if self.is_blank() {
            return (format!("{}: asking …", self.gateway), false);
        }
        let nodes = &self.seen.nodes;
        let silent = nodes
            .iter()
            .filter(|row| row.status == NodeStatus::Unreachable)
            .count();
        let loads = || nodes.iter().filter_map(|row| row.load.as_ref());
        let sessions: usize = loads().map(|load| load.sessions.count).sum();
        let waiting: usize = loads().map(|load| load.need_operator).sum();
        let text = format!(
            "{}: {} nodes, {silent} of them unreachable; {sessions} sessions; {waiting} actors wait for an operator",
            self.gateway,
            nodes.len(),
        );
        (text, silent > 0 || waiting > 0)
    }
}

/// The choice after the present one; none after the last.
fn next<'a>(present: Option<&str>, choices: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut choices = choices.into_iter();
    if let Some(present) = present {
        choices.by_ref().find(|choice| *choice == present)?;
    }
    choices.next().map(str::to_owned)
}
