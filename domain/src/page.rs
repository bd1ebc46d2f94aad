//! Pages of lists.

/// Most rows a page can have.
pub const PAGE_ROWS_MAX: u32 = 500;

/// What part of a list to read: rows after a key, at most so many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest<K> {
    /// Key of the last row already seen; `None` starts at the beginning.
    pub after: Option<K>,
    /// Most rows wanted, from 1 to [`PAGE_ROWS_MAX`].
    pub limit: u32,
}

impl<K> PageRequest<K> {
    /// A page of at most `limit` rows after `after`.
    pub fn new(after: Option<K>, limit: u32) -> Self {
        Self {
            after,
            limit: limit.clamp(1, PAGE_ROWS_MAX),
        }
    }
}

/// One page, and where the next begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K> {
    /// The rows.
    pub rows: Vec<T>,
    /// `after` of the next page; `None` when this is the last.
    pub next: Option<K>,
}

impl<T, K> Page<T, K> {
    /// Cuts rows read with one more than the limit to a page.
    pub fn from_rows(mut rows: Vec<T>, limit: u32, key: impl Fn(&T) -> K) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(key) } else { None };
        Self { rows, next }
    }
}
