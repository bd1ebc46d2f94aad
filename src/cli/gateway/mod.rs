//! Commands that look at a gateway from outside, over its operator's API: which one, with which key, and
//! one call at a time. Every call has a connection of its own, a time limit and a largest answer.

mod wire;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use hyper::{Method, StatusCode};
use roost_actors::ActorView;
use roost_actors::operator::{NodeAnswer, NodeView};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

/// For one call, connecting included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which gateway.
#[derive(Debug, Clone, Args)]
pub(super) struct GatewayOptions {
    /// URL of the gateway's API: of any node, or of what stands before them.
    #[arg(
        long,
        value_name = "URL",
        env = "ROOST_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    url: Url,
    /// An operator's key, as `roost key create --operator` prints it. Better in the environment or in a file
    /// than here, where other users of the host see it.
    #[arg(long, value_name = "KEY", env = "ROOST_OPERATOR_KEY", hide_env_values = true)]
    key: Option<String>,
    /// File with that key.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    key_file: Option<PathBuf>,
    /// PEM file with certificates to trust beside the usual roots.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// A gateway that answers operators.
pub(super) struct Gateway {
    base: Url,
    key: String,
    dial: wire::Dial,
}

/// Why a call has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    /// There is no gateway, or it does not answer.
    #[error("the gateway at {url} cannot be reached: {problem}")]
    Unreachable { url: String, problem: String },
    /// It answered that it will not.
    #[error("the gateway at {url} answered {status}: {detail}")]
    Refused {
        url: String,
        status: StatusCode,
        detail: String,
    },
    /// What it said is no answer of a gateway of this release.
    #[error("what answers at {url} is no gateway of this release: {problem}")]
    Strange { url: String, problem: String },
}

/// Rows of a list.
#[derive(Debug, Deserialize)]
struct List<T> {
    data: Vec<T>,
}

/// Actors, and which nodes were asked for them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Actors {
    pub(super) data: Vec<ActorView>,
    pub(super) nodes: Vec<NodeAnswer>,
}

impl GatewayOptions {
    /// Reads the key.
    pub(super) fn open(&self) -> anyhow::Result<Gateway> {
        anyhow::ensure!(
            matches!(self.url.scheme(), "http" | "https") && self.url.has_host(),
            "--url must be an http or https URL"
        );
        let key = match (&self.key, &self.key_file) {
            (Some(key), _) => key.clone(),
            (None, Some(path)) => std::fs::read_to_string(path)
                .with_context(|| format!("the key file {} cannot be read", path.display()))?,
            (None, None) => anyhow::bail!(
                "an operator's key is needed: set ROOST_OPERATOR_KEY, or name a file by --key-file; \
                 `roost key create --operator` makes one"
            ),
        };
        let key = key.trim().to_owned();
        anyhow::ensure!(
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()),
            "the operator's key is empty, or has characters that no key has"
        );
        Ok(Gateway {
            base: self.url.clone(),
            key,
            dial: wire::Dial::new(self.ca_file.as_deref())?,
        })
    }
}

impl Gateway {
    /// Where it is, for people.
    pub(super) fn name(&self) -> String {
        let mut shown = self.base.clone();
        // Neither can fail on a URL with a host.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.as_str().trim_end_matches('/').to_owned()
    }

    /// Every node.
    pub(super) async fn nodes(&self) -> Result<Vec<NodeView>, GatewayError> {
        let list: List<NodeView> = self.call(Method::GET, "v1/operator/nodes", &[]).await?;
        Ok(list.data)
    }

    /// The actors that most need somebody to look at them.
    pub(super) async fn worst_actors(
        &self,
        kind: Option<&str>,
        state: Option<&str>,
        limit: usize,
    ) -> Result<Actors, GatewayError> {
        let limit = limit.to_string();
        let mut query = vec![("order", "worst"), ("limit", limit.as_str())];
        query.extend(kind.map(|kind| ("kind", kind)));
        query.extend(state.map(|state| ("state", state)));
        self.call(Method::GET, "v1/operator/actors", &query).await
    }

    /// Has a node give its slots away, or takes that back.
    pub(super) async fn drain(&self, node: &str, draining: bool) -> Result<NodeView, GatewayError> {
        let method = if draining { Method::POST } else { Method::DELETE };
        let path = format!("v1/operator/nodes/{node}/drain");
        self.call(method, &path, &[]).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, GatewayError> {
        let mut target = self.base.clone();
        target.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        target.set_query(None);
        if !query.is_empty() {
            target.query_pairs_mut().extend_pairs(query);
        }
        let call = self.dial.call(method, &target, &self.key);
        let url = self.name();
        let (status, body) = match tokio::time::timeout(TIMEOUT, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(problem)) => return Err(GatewayError::Unreachable { url, problem }),
            Err(_) => {
                let problem = format!("no answer within {} s", TIMEOUT.as_secs());
                return Err(GatewayError::Unreachable { url, problem });
            }
        };
        if !status.is_success() {
            let detail = refusal(&body);
            return Err(GatewayError::Refused { url, status, detail });
        }
        serde_json::from_slice(&body).map_err(|error| GatewayError::Strange {
            url,
            problem: error.to_string(),
        })
    }
}

/// What a problem says, for people.
fn refusal(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => problem.detail,
        Err(_) => "without a reason".to_owned(),
    }
}
