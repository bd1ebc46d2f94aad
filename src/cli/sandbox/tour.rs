//! The demo's two phones, and what a newcomer can do with them.

use super::control::Control;
use super::keys::Keys;

const ALICE: &str = "4915550001";
const ECHO: &str = "4915550002";

/// Makes the demo's phones. A sandbox in another process may be down: the gateway starts all the
/// same, and its sessions connect when the sandbox is back.
pub(super) async fn make_phones(control: &Control) {
    for (number, name, echo) in [(ALICE, "Alice", false), (ECHO, "Echo", true)] {
        if let Err(error) = control.make_phone(number, name, echo).await {
            tracing::warn!("the demo has no phones: {error:#}");
            return;
        }
    }
}

/// What a person needs next: the addresses, the keys, and the lines to type.
pub(super) fn text(api: &str, sandbox: &str, keys: &Keys) -> String {
    let Keys {
        api_key,
        operator_key,
    } = keys;
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"roost {version} with the sandbox
This build has the feature `sandbox`: it speaks to a simulated WhatsApp on this machine and to nothing else.

  API           {api}
  API key       {api_key}
  operator key  {operator_key}
  sandbox       {sandbox}   phones: +{ALICE} "Alice", +{ECHO} "Echo" (answers with what it hears)

Try it in another terminal:

  export API={api} SANDBOX={sandbox} KEY={api_key}
  alias api='curl -s -H "Authorization: Bearer $KEY" -H "Content-Type: application/json"'

  # 1. make an instance and connect it
  ID=$(api $API/v1/instances -d '{{"name":"demo"}}' | grep -o 'ins_[0-9A-Z]*' | head -1)
  api $API/v1/instances/$ID/connect -d '{{"method":"qr"}}'

  # 2. let Alice's phone scan the QR code
  CODE=$(api $API/v1/instances/$ID/qr | sed 's/.*"code":"\([^"]*\)".*/\1/')
  curl -s $SANDBOX/sandbox/v1/accounts/{ALICE}/scan -d "{{\"code\":\"$CODE\"}}"

  # 3. send to the echo phone, and see the message become sent and delivered, and the echo arrive
  api "$API/v1/instances/$ID/messages?wait=server_ack" -d '{{"to":"+{ECHO}","type":"text","text":{{"body":"Hello"}}}}'
  api $API/v1/instances/$ID/messages

  # watch everything that happens, from the beginning
  api -N -H 'Accept: text/event-stream' "$API/v1/events?after=0"

  # have everything posted to a receiver of yours on this machine, signed; docs/webhooks.md has one to start with
  api $API/v1/webhooks -d '{{"url":"http://127.0.0.1:9000/hook","events":["*"]}}'

More to try, on the same sandbox: docs/sandbox.md (groups, media, faults, scenarios, clients of your own).
Stop it with Ctrl-C. Everything comes back with the same --data-dir: no instance needs a new scan.

"#
    )
}
