//! How clients find the media host and come to trust it.

use roost_sandbox::server::SandboxConfig;

use super::{Host, media_conn, scene, trusting};
use crate::stage::Stage;

#[tokio::test]
async fn the_certificate_is_a_file_an_answer_and_a_field_of_the_handle() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("given.pem");
    let stage = Stage::with(SandboxConfig {
        data_dir: Some(folder.path().join("state")),
        ca_file: Some(file.clone()),
        ..SandboxConfig::default()
    })
    .await;
    let pem = stage.here().ca_pem().to_owned();
    assert_eq!(std::fs::read_to_string(file).unwrap(), pem);
    assert_eq!(
        std::fs::read_to_string(folder.path().join("state/ca.pem")).unwrap(),
        pem
    );
    assert_eq!(stage.get_bytes("/ca.pem").await, (200, pem.into_bytes()));
    let client = trusting(&stage).await.build().unwrap();
    let answer = client.get(stage.here().media_url()).send().await.unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn clients_are_told_the_name_that_was_given() {
    let stage = Stage::with(SandboxConfig {
        media_names: vec!["media.test".to_owned(), "10.1.2.3".to_owned()],
        ..SandboxConfig::default()
    })
    .await;
    let (_ada, mut wire) = scene(&stage).await;
    let connection = media_conn(&mut wire).await;
    let told = connection.find("host").unwrap().get("hostname").unwrap();
    let port = told.strip_prefix("media.test:").unwrap().parse().unwrap();
    let mut host = Host::of(&stage, &mut wire).await;
    let address = ([127, 0, 0, 1], port).into();
    let client = trusting(&stage).await.resolve("media.test", address);
    host.http = client.build().unwrap();
    let path = host.uploaded("image", b"blob").await;
    assert_eq!(host.get(&path).await.bytes().await.unwrap(), "blob");
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_certificate_does_no_harm() {
    let stage = Stage::new().await;
    let url = stage.here().media_url();
    assert!(reqwest::get(&url).await.is_err());
    let address = url.strip_prefix("https://").unwrap();
    for bytes in [&[0x16, 3, 1, 0xFF, 0xFF][..], b"\0\0\0\0", b"CONNECT\r\n\r\n"] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Closed, with or without an answer.
        let _ = stream.read_to_end(&mut answer).await;
    }
    let client = trusting(&stage).await.build().unwrap();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 404);
}
