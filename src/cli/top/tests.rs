use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use roost_actors::operator::NodeView;
use roost_actors::{ActorView, operator::NodeAnswer};
use serde_json::{Value, json};

use super::*;

fn node(name: &str, change: Value) -> NodeView {
    let census = |count: usize| json!({"count": count, "states": {"connected": count}});
    let gate = json!({"dialing": 2, "waiting": 7, "dials_max": 64, "dials_per_second": 250, "dialed": 400});
    let mut row = json!({
        "node": name, "here": name == "a", "status": "ok", "error": null, "incarnation": 7,
        "address": "10.0.0.1:9400", "http_address": "10.0.0.1:8080",
        "lease": {"state": "live", "expires_in_ms": 12_345}, "age_ms": 60_000, "version": "0.1.0",
        "draining": false, "slots": {"owned": 512, "desired": 512},
        "load": {"ready": true, "uptime_ms": 60_000, "sessions": census(100), "webhooks": census(5),
            "buckets": census(3), "need_operator": 1, "gate": gate},
        "link": {"connected": true, "rtt_us": 731, "in_flight": 0, "serving": 0, "notes_dropped": 0,
            "links": 1, "last_error": null},
    });
    for (key, value) in change.as_object().unwrap() {
        row[key] = value.clone();
    }
    serde_json::from_value(row).unwrap()
}

fn actor(path: &str, change: Value) -> ActorView {
    let mut row = json!({
        "path": path, "kind": path.split('/').next(), "key": null, "slot": 5, "node": "b", "epoch": 9,
        "state": "connected", "ractor_status": "running", "started_at": null, "uptime_ms": 65_000,
        "restarts": 0, "last_error": null, "next_retry_at": null, "needs_operator": false,
        "mailbox": {"depth": 0, "oldest_ms": 0}, "permits": [], "pacing": null, "handled": 12,
        "last_activity_at": null, "last_message": null,
    });
    for (key, value) in change.as_object().unwrap() {
        row[key] = value.clone();
    }
    serde_json::from_value(row).unwrap()
}

fn seen() -> Seen {
    let error = "there is no link to the node";
    let dead = json!({"status": "unreachable", "error": error, "load": null});
    let panic = json!({"at": "2026-11-23T12:00:00Z", "class": "panic", "text": "index out of\nbounds"});
    let answer = |node: &str, status: &str| -> NodeAnswer {
        serde_json::from_value(json!({"node": node, "status": status, "error": null})).unwrap()
    };
    Seen {
        nodes: vec![
            node("a", json!({"link": null})),
            node("b", json!({"draining": true})),
            node("c", dead),
        ],
        actors: vec![
            actor("instance/fine", json!({"handled": 99})),
            actor(
                "instance/stuck",
                json!({"mailbox": {"depth": 4, "oldest_ms": 61_000}}),
            ),
            actor(
                "webhook/broken",
                json!({"state": "quarantined", "needs_operator": true, "restarts": 5, "uptime_ms": null,
                    "last_error": panic}),
            ),
        ],
        silent: vec![answer("a", "ok"), answer("b", "ok"), answer("c", "unreachable")],
    }
}

fn board() -> Board {
    let mut board = Board::new("http://gateway".to_owned(), Filter::default(), Order::Worst);
    board.see(seen());
    board
}

fn drawn(board: &mut Board, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(frame, board)).unwrap();
    terminal
}

fn lines(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width);
    let rows = buffer.content().chunks(width);
    rows.map(|row| {
        row.iter()
            .map(|cell| cell.symbol())
            .collect::<String>()
            .trim_end()
            .to_owned()
    })
    .collect()
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn paths(board: &Board) -> Vec<&str> {
    board.actors().iter().map(|row| row.path.as_str()).collect()
}

#[test]
fn the_screen_shows_nodes_and_the_worst_actors_first() {
    let terminal = drawn(&mut board(), 180, 20);
    let lines = lines(&terminal);
    let text = lines.join("\n");
    assert!(
        lines[0].starts_with("http://gateway: 3 nodes, 1 of them unreachable; 200 sessions; 2 actors wait")
    );
    let line = |start: &str| {
        lines
            .iter()
            .position(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{text}"))
    };
    for part in ["ok", "12.3s", "512/512", "100", "2+7", "0.1.0"] {
        assert!(lines[line("a*")].contains(part), "{part}: {text}");
    }
    assert!(
        lines[line("b ")].contains("draining") && lines[line("b ")].contains("0.73ms"),
        "{text}"
    );
    let dead = &lines[line("c ")];
    assert!(
        dead.contains("unreachable") && dead.contains("there is no link"),
        "{text}"
    );
    let (broken, stuck, fine) = (
        line("webhook/broken"),
        line("instance/stuck"),
        line("instance/fine"),
    );
    assert!(broken < stuck && stuck < fine, "{text}");
    assert!(lines[broken].contains("panic: index out of bounds"), "{text}");
    assert!(lines[stuck].contains("1m01s"), "{text}");
    assert!(text.contains("none of c, which did not answer"), "{text}");
    assert!(lines.last().unwrap().starts_with("q quit"));
    let colour = |row: usize| {
        let y = u16::try_from(row).unwrap();
        terminal.backend().buffer()[(0, y)].fg
    };
    assert_eq!(colour(broken), Color::Red);
    assert_eq!(colour(line("b ")), Color::Yellow);
    assert_eq!(colour(fine), Color::Reset);
}

#[test]
fn a_gateway_that_does_not_answer_is_said_to_be_so_and_what_was_seen_stays() {
    let mut board = board();
    let error = GatewayError::Unreachable {
        url: "http://gateway".into(),
        problem: "connection refused".into(),
    };
    board.miss(&Arc::new(error));
    let shown = lines(&drawn(&mut board, 180, 20));
    assert!(
        shown[0].starts_with(
            "the gateway at http://gateway cannot be reached: connection refused; what is shown was seen"
        ),
        "{shown:?}"
    );
    assert!(shown.iter().any(|line| line.starts_with("instance/stuck")));
    board.see(seen());
    assert!(lines(&drawn(&mut board, 180, 20))[0].starts_with("http://gateway: 3 nodes"));
    // Before it has ever answered.
    let mut blank = Board::new("http://gateway".to_owned(), Filter::default(), Order::Worst);
    assert!(lines(&drawn(&mut blank, 80, 10))[0].contains("asking"));
}

#[test]
fn keys_sort_filter_move_and_end() {
    let mut board = board();
    assert_eq!(
        paths(&board),
        ["webhook/broken", "instance/stuck", "instance/fine"]
    );
    let orders = [
        ["instance/fine", "instance/stuck", "webhook/broken"],
        ["instance/stuck", "instance/fine", "webhook/broken"],
        ["webhook/broken", "instance/fine", "instance/stuck"],
        ["instance/fine", "instance/stuck", "webhook/broken"],
        ["webhook/broken", "instance/stuck", "instance/fine"],
    ];
    for order in orders {
        assert!(!board.press(key(KeyCode::Char('s'))));
        assert_eq!(paths(&board), order, "{}", board.actors_title());
    }
    let mut kinds = Vec::new();
    for _ in 0..5 {
        board.press(key(KeyCode::Char('k')));
        kinds.push(board.filter().kind.clone());
    }
    let kinds: Vec<_> = kinds.iter().map(Option::as_deref).collect();
    assert_eq!(
        kinds,
        [
            Some("instance"),
            Some("webhook"),
            Some("bucket"),
            Some("registry"),
            None
        ]
    );
    let mut states = Vec::new();
    for _ in 0..3 {
        board.press(key(KeyCode::Char('t')));
        states.push(board.filter().state.clone());
    }
    let states: Vec<_> = states.iter().map(Option::as_deref).collect();
    assert_eq!(states, [Some("connected"), Some("quarantined"), None]);
    for (code, place) in [
        (KeyCode::Up, 0),
        (KeyCode::Down, 1),
        (KeyCode::PageDown, 2),
        (KeyCode::Down, 2),
        (KeyCode::PageUp, 0),
    ] {
        board.press(key(code));
        assert_eq!(board.place(), place);
    }
    assert!(board.press(key(KeyCode::Char('q'))) && board.press(key(KeyCode::Esc)));
    assert!(board.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    assert!(!board.press(key(KeyCode::Char('c'))));
}

#[test]
fn no_size_of_a_terminal_breaks_the_screen() {
    for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 3), (400, 100)] {
        let mut board = board();
        board.press(key(KeyCode::PageDown));
        drawn(&mut board, width, height);
    }
}

#[test]
fn plain_text_has_a_line_for_each_row_and_no_colours() {
    let text = table::plain(&board());
    assert!(!text.contains('\u{1b}'));
    let starts: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        starts,
        [
            "http://gateway:",
            "NODE",
            "a*",
            "b",
            "c",
            "actors:",
            "ACTOR",
            "webhook/broken",
            "instance/stuck",
            "instance/fine"
        ]
    );
}

#[tokio::test]
async fn a_gateway_that_comes_back_is_seen_again_without_being_asked_to() {
    // Nobody listens at first.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    #[derive(clap::Parser)]
    struct Words {
        #[command(flatten)]
        gateway: GatewayOptions,
    }
    let url = format!("http://{address}");
    let words: Words = clap::Parser::parse_from(["top", "--url", &url, "--key", "rst_x"]);
    let gateway = words.gateway.open().unwrap();
    let (_filters, wanted) = watch::channel(Filter::default());
    let (report, mut reports) = mpsc::channel(1);
    let _looking = AbortOnDropHandle::new(tokio::spawn(keep_looking(gateway, wanted, report)));
    let first = reports.recv().await.unwrap();
    assert!(matches!(
        first.as_ref().map_err(|error| &**error),
        Err(GatewayError::Unreachable { .. })
    ));
    let nodes = json!({"data": [node("a", json!({}))], "next_cursor": null});
    let actors = json!({"data": [], "next_cursor": null, "nodes": []});
    let router = axum::Router::new()
        .route(
            "/v1/operator/nodes",
            axum::routing::get(async || axum::Json(nodes)),
        )
        .route(
            "/v1/operator/actors",
            axum::routing::get(async || axum::Json(actors)),
        );
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let _serving = AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, router).await }));
    let back = async {
        loop {
            if let Ok(seen) = reports.recv().await.unwrap() {
                return seen;
            }
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(30), back).await.unwrap();
    assert_eq!(seen.nodes[0].node, "a");
}
