//! The board on a terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, TableState, Wrap};

use super::board::Board;
use super::table::{self, ACTORS, NODES, Tone};

const HELP: &str = "q quit  s sort  k kind  t state  ↑ ↓ PgUp PgDn Home move";
/// Lines of a table around its rows: title and head.
const TABLE_HEAD: usize = 2;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, board: &mut Board) {
    let (headline, bad) = board.headline();
    let area = frame.area();
    let wide = usize::from(area.width).max(1);
    let lines = headline.chars().count().div_ceil(wide).clamp(1, 3);
    let nodes = (board.nodes().len() + TABLE_HEAD).min(usize::from(area.height) / 2);
    let fixed = |lines: usize| Constraint::Length(u16::try_from(lines).unwrap_or(u16::MAX));
    let [top, upper, lower, foot] =
        Layout::vertical([fixed(lines), fixed(nodes), Constraint::Min(0), fixed(1)]).areas(area);
    let style = tone(if bad { Tone::Alarm } else { Tone::Plain });
    let headline = Paragraph::new(headline).style(style.add_modifier(Modifier::BOLD));
    frame.render_widget(headline.wrap(Wrap { trim: true }), top);

    let rows = board.nodes().iter();
    let rows = rows.map(|row| (table::node_tone(row), table::node_cells(row)));
    frame.render_widget(grid("nodes".to_owned(), NODES, rows), upper);

    let rows = board.actors().iter();
    let rows = rows.map(|row| (table::actor_tone(row), table::actor_cells(row)));
    let actors = grid(board.actors_title(), ACTORS, rows);
    let mut state = TableState::new().with_offset(board.place());
    frame.render_stateful_widget(actors, lower, &mut state);
    frame.render_widget(Paragraph::new(HELP).style(Style::new().fg(Color::DarkGray)), foot);
}

fn grid<const N: usize>(
    title: String,
    columns: [(&'static str, u16); N],
    rows: impl Iterator<Item = (Tone, [String; N])>,
) -> Table<'static> {
    let head = Row::new(columns.map(|(title, _)| title)).style(Style::new().add_modifier(Modifier::BOLD));
    // The last column takes what is left.
    let widths = columns.into_iter().enumerate().map(|(place, (_, width))| {
        if place + 1 == N {
            Constraint::Min(width)
        } else {
            Constraint::Length(width)
        }
    });
    let rows = rows.map(|(tone_of, cells)| Row::new(cells).style(tone(tone_of)));
    Table::new(rows, widths)
        .header(head)
        .block(Block::new().borders(Borders::TOP).title(title))
}

fn tone(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Notice => Style::new().fg(Color::Yellow),
        Tone::Alarm => Style::new().fg(Color::Red),
    }
}
