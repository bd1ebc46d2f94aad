//! Webhooks: a tenant's own events in through `POST /v1/events`, deliveries out to a sink of this tool.
//!
//! Each part runs on a gateway and a database of its own. Whatever was accepted must arrive, in order
//! where order was promised; the sink counts by the number that each event carries.

mod backlog;
mod fanout;
mod flow;
mod hanging;
mod kill;
mod publish;
mod rate;
mod stage;
mod stall;

use crate::bench::Setup;
use crate::cli::{Database, WebhookPart, WebhooksArgs};
use crate::error::Result;
use crate::report::Section;
use stage::Stage;

/// Measures the chosen parts on one database; `each` gets every section as soon as it is complete.
pub async fn measure(
    setup: &Setup,
    arguments: &WebhooksArgs,
    database: Database,
    each: &mut impl FnMut(Section),
) -> Result<()> {
    for part in &arguments.part {
        if *part == WebhookPart::Hanging {
            hangs(setup, arguments, database, each).await?;
            continue;
        }
        let mut stage = Stage::start(setup, arguments, database).await?;
        each(match part {
            WebhookPart::Closed => rate::closed(&mut stage).await?,
            WebhookPart::Open => rate::open(&mut stage).await?,
            WebhookPart::Fanout => fanout::measure(&mut stage).await?,
            WebhookPart::Stall => stall::measure(&mut stage).await?,
            WebhookPart::Kill => kill::measure(&mut stage).await?,
            WebhookPart::Flaky => rate::flaky(&mut stage).await?,
            WebhookPart::Backlog | WebhookPart::Hanging => backlog::measure(&mut stage).await?,
        });
    }
    Ok(())
}

/// The same load with more and more receivers that hang; the first number is what the others are
/// compared with.
async fn hangs(
    setup: &Setup,
    arguments: &WebhooksArgs,
    database: Database,
    each: &mut impl FnMut(Section),
) -> Result<()> {
    let mut calm = None;
    for &number in &arguments.hanging {
        let mut stage = Stage::start(setup, arguments, database).await?;
        let (section, p99_ms) = hanging::measure(&mut stage, number, calm).await?;
        calm = calm.or(Some(p99_ms));
        each(section);
    }
    Ok(())
}
