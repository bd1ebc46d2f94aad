//! A connection as a client has it: the handshake, then stanzas both ways.

use std::collections::VecDeque;

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use prost::Message as _;
use roost_sandbox::signal::KeyPair;
use roost_sandbox::wire::frame::{FrameReader, Input, client_header, write_frame};
use roost_sandbox::wire::node::{Limits, Node, decode, encode_to_vec};
use roost_sandbox::wire::noise::{Hello, Initiator, NoiseError, Transport};
use roost_sandbox::wire::proto::ClientPayload;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::stage::{DEADLINE, Stage};

pub type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One connection after its handshake.
pub struct Wire {
    socket: WebSocket,
    reader: FrameReader,
    transport: Transport,
    /// Stanzas that were read while waiting for others.
    backlog: VecDeque<Node>,
    next_id: u32,
}

impl Wire {
    pub async fn open(stage: &Stage, key: &KeyPair, payload: &ClientPayload, hello: Hello) -> Self {
        let wire = Self::try_open(stage, key, payload, hello).await;
        wire.expect("the server greets")
    }

    /// `None` when the server is gone before the handshake is complete.
    pub async fn try_open(
        stage: &Stage,
        key: &KeyPair,
        payload: &ClientPayload,
        hello: Hello,
    ) -> Option<Self> {
        let (mut socket, _) = tokio_tungstenite::connect_async(stage.websocket_url())
            .await
            .ok()?;
        let header = client_header(3);
        let initiator = Initiator::new(&header, hello);
        let mut out = BytesMut::from(&header[..]);
        write_frame(&mut out, initiator.hello()).unwrap();
        socket.send(out.freeze().into()).await.ok()?;

        let mut reader = FrameReader::client(1 << 20);
        let answer = next_frame(&mut socket, &mut reader).await?;
        let greeted = initiator.read(&answer).unwrap();
        stage.check_server(&greeted.chain, &greeted.server_key);
        let (finish, transport) = greeted.finish(key, &payload.encode_to_vec()).unwrap();
        let mut out = BytesMut::new();
        write_frame(&mut out, &finish).unwrap();
        socket.send(out.freeze().into()).await.ok()?;
        Some(Self {
            socket,
            reader,
            transport,
            backlog: VecDeque::new(),
            next_id: 0,
        })
    }

    pub async fn send(&mut self, node: &Node) {
        let plain = encode_to_vec(node).unwrap();
        self.send_plain(&plain).await;
    }

    /// `None` when the server is gone.
    pub async fn try_send(&mut self, node: &Node) -> Option<()> {
        let plain = encode_to_vec(node).unwrap();
        let mut out = BytesMut::new();
        self.transport.sender.seal_frame(&plain, &mut out).unwrap();
        self.socket.send(out.freeze().into()).await.ok()
    }

    /// The next stanza, or `None` when the server is gone.
    pub async fn next(&mut self) -> Option<Node> {
        match self.backlog.pop_front() {
            Some(node) => Some(node),
            None => self.read().await,
        }
    }

    /// The next WebSocket message, whatever it is.
    pub async fn next_message(&mut self) -> Option<tungstenite::Message> {
        self.socket.next().await.and_then(Result::ok)
    }

    /// Sends the same encrypted frame twice.
    pub async fn send_replayed(&mut self, node: &Node) {
        let plain = encode_to_vec(node).unwrap();
        let mut out = BytesMut::new();
        self.transport.sender.seal_frame(&plain, &mut out).unwrap();
        let frame = out.freeze();
        self.send_raw(frame.clone().into()).await;
        self.send_raw(frame.into()).await;
    }

    /// Sends the bytes of a stanza, well-formed or not.
    pub async fn send_plain(&mut self, plain: &[u8]) {
        let mut out = BytesMut::new();
        self.transport.sender.seal_frame(plain, &mut out).unwrap();
        self.send_raw(out.freeze().into()).await;
    }

    pub async fn send_raw(&mut self, message: tungstenite::Message) {
        self.socket.send(message).await.unwrap();
    }

    async fn read(&mut self) -> Option<Node> {
        self.try_read().await.map(Result::unwrap)
    }

    /// The next stanza; an error when its frame does not decrypt.
    pub async fn try_read(&mut self) -> Option<Result<Node, NoiseError>> {
        let frame = next_frame(&mut self.socket, &mut self.reader).await?;
        let plain = self.transport.open(frame);
        Some(plain.map(|plain| decode(plain.freeze(), Limits::default()).unwrap()))
    }

    /// The next stanza that `matches`; the others are kept for later.
    pub async fn expect(&mut self, matches: impl Fn(&Node) -> bool) -> Node {
        if let Some(at) = self.backlog.iter().position(&matches) {
            return self.backlog.remove(at).unwrap();
        }
        let waiting = async {
            loop {
                let node = self.read().await.expect("the connection stays open");
                if matches(&node) {
                    return node;
                }
                self.backlog.push_back(node);
            }
        };
        tokio::time::timeout(DEADLINE, waiting)
            .await
            .expect("the stanza comes before the deadline")
    }

    /// Keeps what comes for later, until nothing has come for this long.
    pub async fn settle(&mut self, quiet: std::time::Duration) {
        while let Ok(Some(node)) = tokio::time::timeout(quiet, self.read()).await {
            self.backlog.push_back(node);
        }
    }

    pub async fn expect_tag(&mut self, tag: &str) -> Node {
        self.expect(|node| node.tag == tag).await
    }

    pub async fn expect_ack(&mut self, id: &str) -> Node {
        self.expect(|node| node.tag == "ack" && node.is("id", id)).await
    }

    /// Reads until the server closes, and returns what came before.
    pub async fn until_closed(&mut self) -> Vec<Node> {
        let mut nodes: Vec<_> = self.backlog.drain(..).collect();
        let waiting = async {
            while let Some(node) = self.read().await {
                nodes.push(node);
            }
        };
        tokio::time::timeout(DEADLINE, waiting)
            .await
            .expect("the server closes before the deadline");
        nodes
    }

    /// Asks and returns the answer.
    pub async fn query(&mut self, kind: &'static str, namespace: &'static str, child: Node) -> Node {
        self.query_all(kind, namespace, vec![child]).await
    }

    pub async fn query_all(
        &mut self,
        kind: &'static str,
        namespace: &'static str,
        children: Vec<Node>,
    ) -> Node {
        self.next_id += 1;
        let id = format!("q{}", self.next_id);
        let query = Node::new("iq")
            .attr("id", id.clone())
            .attr("to", "s.whatsapp.net")
            .attr("type", kind)
            .attr("xmlns", namespace)
            .with_children(children);
        self.send(&query).await;
        self.expect(|node| node.tag == "iq" && node.is("id", &id)).await
    }
}

pub async fn websocket(stage: &Stage) -> WebSocket {
    tokio_tungstenite::connect_async(stage.websocket_url())
        .await
        .unwrap()
        .0
}

/// The next frame, or `None` when the server closes.
async fn next_frame(socket: &mut WebSocket, reader: &mut FrameReader) -> Option<BytesMut> {
    loop {
        match reader.next_input().unwrap() {
            Some(Input::Frame(frame)) => return Some(frame),
            Some(Input::Header(_)) => panic!("a server sends no header"),
            None => {}
        }
        match socket.next().await {
            Some(Ok(tungstenite::Message::Binary(bytes))) => reader.push(&bytes),
            Some(Ok(tungstenite::Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}
