//! Media over real TLS, with a client that trusts nothing but the sandbox's certificate.

mod download;
mod fault;
mod host;
mod message;
mod restart;
mod upload;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Client, ClientBuilder, Response};
use roost_sandbox::wire::node::Node;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::client::{Companion, Wire};
use crate::stage::Stage;

pub const ADA: &str = "15550000001";
pub const BOB: &str = "15550000002";
pub const ADA_JID: &str = "15550000001@s.whatsapp.net";
pub const BOB_JID: &str = "15550000002@s.whatsapp.net";

/// The media host as a companion got to know it.
pub struct Host {
    pub http: Client,
    pub name: String,
    pub auth: String,
}

#[allow(clippy::disallowed_methods, reason = "it calls nothing but the sandbox")]
pub async fn trusting(stage: &Stage) -> ClientBuilder {
    let url = format!("{}/sandbox/v1/ca.pem", stage.url());
    let pem = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
    Client::builder().tls_certs_only([certificate]).no_proxy()
}

pub async fn media_conn(wire: &mut Wire) -> Node {
    let answer = wire.query("set", "w:m", Node::new("media_conn")).await;
    answer.find("media_conn").unwrap().clone()
}

impl Host {
    pub async fn of(stage: &Stage, wire: &mut Wire) -> Self {
        let connection = media_conn(wire).await;
        let host = connection.find("host").unwrap();
        Self {
            http: trusting(stage).await.build().unwrap(),
            name: host.get("hostname").unwrap().to_owned(),
            auth: connection.get("auth").unwrap().to_owned(),
        }
    }

    pub fn upload_url(&self, kind: &str, hash: &str) -> String {
        format!(
            "https://{}/mms/{kind}/{hash}?auth={}&token={hash}",
            self.name, self.auth
        )
    }

    pub async fn upload(&self, kind: &str, blob: &[u8]) -> Response {
        let request = self.http.post(self.upload_url(kind, &name_of(blob)));
        request.body(blob.to_vec()).send().await.unwrap()
    }

    /// Uploads and returns the direct path.
    pub async fn uploaded(&self, kind: &str, blob: &[u8]) -> String {
        let answer = self.upload(kind, blob).await;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        answer["direct_path"].as_str().unwrap().to_owned()
    }

    pub async fn get(&self, path: &str) -> Response {
        let url = format!("https://{}{path}", self.name);
        self.http.get(url).send().await.unwrap()
    }
}

/// How an upload names its bytes.
pub fn name_of(blob: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(blob))
}

pub fn noise(bytes: usize) -> Vec<u8> {
    let seed: [u8; 32] = rand::random();
    let counted = (0..bytes).map(|at| seed[at % 32] ^ (at / 32) as u8);
    counted.collect()
}

/// A sandbox with two accounts and a companion of the first that is online.
pub async fn scene(stage: &Stage) -> (Companion, Wire) {
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ada = Companion::paired(stage, ADA).await;
    let wire = ada.open(stage).await;
    (ada, wire)
}
