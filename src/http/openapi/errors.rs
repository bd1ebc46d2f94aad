//! `docs/errors.md`: every error code with its status, its meaning and what to do about it.

use std::fmt::Write;

use roost_domain::ErrorCode;

use crate::http::problem::Problem;

const HEAD: &str = "# Errors

Written by `roost errors`; a test compares. How an error looks is in [api.md](api.md#errors), and which operation can give which one in [openapi.json](openapi.json), as `x-error-codes`.

Match on `code`: a code never changes its meaning, the texts may. `retryable` says whether the same request may succeed later; then there is `Retry-After`, in seconds.

| code | status | retryable | meaning | what to do |
|---|---|---|---|---|
";

/// The page.
pub fn reference() -> String {
    let mut codes: Vec<(u16, ErrorCode)> = ErrorCode::ALL
        .iter()
        .map(|&code| (Problem::new(code, "").status().as_u16(), code))
        .collect();
    codes.sort_by_key(|&(status, code)| (status, code.as_str()));
    let mut page = HEAD.to_owned();
    for (status, code) in codes {
        let retryable = if code.is_retryable() { "yes" } else { "" };
        // Writing to a text does not fail.
        let _ = writeln!(
            page,
            "| `{}` | {status} | {retryable} | {} | {} |",
            code.as_str(),
            code.meaning(),
            code.remedy()
        );
    }
    page
}
