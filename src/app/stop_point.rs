//! What fault tests may do to a gateway that is built with the sandbox: end it with SIGKILL at a named
//! point. `ROOST_STOP_POINT=settle.before:3` ends it when it is about to record deliveries for the third
//! time.
//!
//! Points are `<step>.before` and `<step>.after`. The steps `publish`, `settle`, `park`, `redrive`,
//! `replay` are commits and are passed in the store, and so are those of a rotation of the master key:
//! `rotate_file`, `rotate_begin`, `rotate_unit`, `rotate_finish`, `rotate_trim`. `post` is one POST to a
//! webhook and is passed here. At `decrypt.after` a received message was decrypted and the session that did
//! it is stored, before the message is.

use std::sync::Arc;

use async_trait::async_trait;
use roost_domain::webhook::client::{CallAnswer, CallFailure, OutgoingCall, TargetError, WebhookClient};
use roost_engine::web::arm_decrypted;
use roost_store::stop_point::{Side, arm, pass};
use rustix::process::{Signal, getpid, kill_process};

const VARIABLE: &str = "ROOST_STOP_POINT";
/// The one point that the engine passes.
const DECRYPTED: &str = "decrypt.after";

/// Arms what the environment names; webhooks are posted through what this returns.
#[allow(
    clippy::disallowed_methods,
    reason = "it is no part of the configuration: a gateway that is not built for tests does not know it"
)]
pub fn install(client: Arc<dyn WebhookClient>) -> Arc<dyn WebhookClient> {
    let Ok(text) = std::env::var(VARIABLE) else {
        return client;
    };
    let (point, number) = text.split_once(':').unwrap_or((&text, "1"));
    let number = number.parse().unwrap_or(1);
    if point == DECRYPTED {
        arm_decrypted(number, end);
    }
    arm(point, number, end);
    Arc::new(Client(client))
}

fn end() {
    // The kernel ends this thread before it comes back here, unless the signal cannot be sent: then the
    // test sees that nothing ended.
    let _ = kill_process(getpid(), Signal::KILL);
}

/// Passes the points around each POST.
struct Client(Arc<dyn WebhookClient>);

#[async_trait]
impl WebhookClient for Client {
    async fn check(&self, url: &str) -> Result<(), TargetError> {
        self.0.check(url).await
    }

    fn host(&self, url: &str) -> Result<Arc<str>, TargetError> {
        self.0.host(url)
    }

    async fn post(&self, call: OutgoingCall) -> Result<CallAnswer, CallFailure> {
        pass("post", Side::Before);
        let answer = self.0.post(call).await;
        pass("post", Side::After);
        answer
    }
}
