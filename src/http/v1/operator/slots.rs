//! `GET /v1/operator/slots`

use axum::Json;
use axum::extract::State;
use roost_actors::operator::SlotView;
use roost_domain::page::Page;
use roost_domain::slot::Slot;
use utoipa::IntoParams;

use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::Params;
use crate::http::problem::Answer;

/// Which slots.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described")]
struct Filter {
    /// Only those that this node owns, or did last.
    #[param(example = "local")]
    node: Option<String>,
    /// How many rows a page has at most.
    #[param(minimum = 1, maximum = 1024, default = 1024, example = 1024)]
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same filters.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// List slots.
///
/// By number: who owns each, under which epoch, and who should.
#[utoipa::path(
    get, path = "/operator/slots", operation_id = "list_slots", tag = "operator",
    params(Filter),
    responses((status = 200, description = "A page", body = PageBody<SlotView>))
)]
pub async fn list(
    State(http): State<Http>,
    _: Operator,
    mut params: Params,
) -> Answer<Json<PageBody<SlotView>>> {
    let node = params.text("node");
    let scope = Scope::of(&["slots", node.as_deref().unwrap_or_default()]);
    let most = u32::from(Slot::COUNT);
    let limit = params.number("limit", 1..=most).unwrap_or(most) as usize;
    let cursor = params.text("cursor");
    let after: Option<u16> = cursor.map(|text| scope.decode(&text)).transpose()?;
    params.finish()?;
    let mut rows = http.gateway()?.runtime.operator().slots(node.as_deref()).await?;
    if let Some(after) = after {
        rows.retain(|row| row.slot.number() > after);
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| row.slot.number());
    Ok(Json(PageBody::new(Page { rows, next }, &scope)))
}
