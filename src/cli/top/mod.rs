//! `roost top`: nodes and actors of a gateway, live in a terminal.
//!
//! ```text
//! gateway ── every second ──▶ Seen ──▶ Board (what is shown and how) ──▶ screen, or plain text
//! keys    ──────────────────────────────▲
//! ```
//! Nothing is changed by looking. A gateway that does not answer is said to be so, above what was seen
//! last; it is asked again every second.

mod board;
mod screen;
mod table;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use self::board::{Board, Filter, Order, Seen};
use super::gateway::{Gateway, GatewayError, GatewayOptions};
use super::say;
use crate::app::StopSignals;

const REFRESH: Duration = Duration::from_secs(1);
/// How often keys are looked for.
const KEYS_POLL: Duration = Duration::from_millis(100);
const KEYS_WAITING_MAX: usize = 64;
/// Actors that are asked for: those that most need somebody to look at them.
const ACTORS_MAX: usize = 200;

/// Show nodes and actors of a gateway, live.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Print what there is now as plain text, and end.
    #[arg(long)]
    once: bool,
    /// Only actors of this kind, such as instance or webhook.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only actors in this state, such as quarantined or backing_off.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Order of the actors.
    #[arg(long, value_enum, default_value_t = Order::Worst)]
    sort: Order,
    #[command(flatten)]
    gateway: GatewayOptions,
}

impl Top {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let gateway = self.gateway.open()?;
        let filter = Filter {
            kind: self.kind,
            state: self.state,
        };
        let mut board = Board::new(gateway.name(), filter.clone(), self.sort);
        if self.once {
            board.see(look(&gateway, &filter).await?);
            say(&table::plain(&board));
            return Ok(());
        }
        anyhow::ensure!(
            std::io::stdout().is_terminal(),
            "this is no terminal; --once prints a plain table"
        );
        // Whoever ends it gets the terminal back as it was.
        let signals = StopSignals::take()?;
        let mut terminal = ratatui::try_init()?;
        let shown = live(&mut terminal, signals, gateway, board).await;
        ratatui::try_restore()?;
        shown
    }
}

/// What a gateway shows at this moment.
async fn look(gateway: &Gateway, filter: &Filter) -> Result<Seen, GatewayError> {
    let actors = gateway.worst_actors(filter.kind.as_deref(), filter.state.as_deref(), ACTORS_MAX);
    let (nodes, actors) = tokio::try_join!(gateway.nodes(), actors)?;
    Ok(Seen {
        nodes,
        actors: actors.data,
        silent: actors.nodes,
    })
}

async fn live(
    terminal: &mut DefaultTerminal,
    mut signals: StopSignals,
    gateway: Gateway,
    mut board: Board,
) -> anyhow::Result<()> {
    let (filters, wanted) = watch::channel(board.filter().clone());
    let (report, mut reports) = mpsc::channel(1);
    let _watching = AbortOnDropHandle::new(tokio::spawn(keep_looking(gateway, wanted, report)));
    let (press, mut keys) = mpsc::channel(KEYS_WAITING_MAX);
    tokio::task::spawn_blocking(move || listen(&press));
    loop {
        terminal.draw(|frame| screen::draw(frame, &mut board))?;
        tokio::select! {
            () = signals.next() => return Ok(()),
            report = reports.recv() => match report {
                Some(Ok(seen)) => board.see(seen),
                Some(Err(error)) => board.miss(&error),
                None => anyhow::bail!("looking at the gateway broke off"),
            },
            key = keys.recv() => match key {
                Some(Some(key)) => if board.press(key) {
                    return Ok(());
                },
                // The window has another size.
                Some(None) => {}
                None => anyhow::bail!("the terminal cannot be read"),
            },
        }
        filters.send_if_modified(|filter| {
            let changed = filter != board.filter();
            filter.clone_from(board.filter());
            changed
        });
    }
}

/// Looks every second, and when something else is wanted.
async fn keep_looking(
    gateway: Gateway,
    mut wanted: watch::Receiver<Filter>,
    report: mpsc::Sender<Result<Seen, Arc<GatewayError>>>,
) {
    let mut tick = interval(REFRESH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            changed = wanted.changed() => if changed.is_err() {
                return;
            },
        }
        let filter = wanted.borrow_and_update().clone();
        let seen = look(&gateway, &filter).await.map_err(Arc::new);
        if report.send(seen).await.is_err() {
            return;
        }
    }
}

/// Passes on what is pressed, until nobody wants it; none for a change of the window.
fn listen(press: &mpsc::Sender<Option<KeyEvent>>) {
    while !press.is_closed() {
        let read =
            event::poll(KEYS_POLL).and_then(|ready| if ready { event::read().map(Some) } else { Ok(None) });
        let passed = match read {
            Ok(Some(Event::Key(key))) if key.kind != KeyEventKind::Release => press.blocking_send(Some(key)),
            Ok(Some(Event::Resize(..))) => press.blocking_send(None),
            Ok(_) => Ok(()),
            Err(_) => return,
        };
        if passed.is_err() {
            return;
        }
    }
}
