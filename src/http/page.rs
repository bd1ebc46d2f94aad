//! Lists on the wire: `{data, next_cursor}`.

use roost_domain::page::Page;
use serde::Serialize;
use utoipa::ToSchema;

use super::cursor::{CursorKey, Scope};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct PageBody<T> {
    /// The rows.
    data: Vec<T>,
    /// `cursor` of the next page; null on the last one.
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
