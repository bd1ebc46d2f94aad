use std::path::Path;

use super::*;
use crate::config::{self, Layers};

fn default_document() -> Value {
    let config = config::load(&Layers::default()).unwrap();
    document(&config.http, &config.webhooks)
}

/// Compares with a file of the repository.
fn compare(name: &str, made: &str, command: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let first = kept
        .lines()
        .zip(made.lines())
        .position(|(kept, made)| kept != made)
        .unwrap_or(kept.lines().count().min(made.lines().count()));
    assert!(
        kept == made,
        "docs/{name} is not what the code says, from line {} on. Look at the difference of\n    \
         cargo run -q -- {command} > docs/{name}",
        first + 1
    );
}

#[test]
fn the_document_in_the_repository_is_the_one_that_is_served() {
    compare("openapi.json", &text(&default_document()), "openapi");
}

#[test]
fn the_list_of_errors_in_the_repository_is_the_one_that_holds() {
    compare("errors.md", &reference(), "errors");
}
