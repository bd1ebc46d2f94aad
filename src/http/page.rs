//! Lists on the wire: `{data, next_cursor}`.

use roost_domain::page::Page;
use serde::Serialize;

use super::cursor::{CursorKey, Scope};

/// A page of a list.
#[derive(Debug, Serialize)]
pub struct PageBody<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

impl<T> PageBody<T> {
    /// A page with its cursor written for the list that made it.
    pub fn new<K: CursorKey>(page: Page<T, K>, scope: &Scope) -> Self {
        Self {
            next_cursor: page.next.map(|key| scope.encode(&key)),
            data: page.rows,
        }
    }
}
