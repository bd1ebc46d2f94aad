//! One connection of a companion: TCP, WebSocket, Noise, binary nodes.
//!
//! The codecs are the sandbox's own; tests of Roost prove them against a client library that
//! nobody here wrote. What is written gathers until [`Wire::flush`].

use std::io;
use std::net::SocketAddr;

use bytes::{BufMut, BytesMut};
use futures::FutureExt;
use prost::Message as _;
use roost_sandbox::signal::KeyPair;
use roost_sandbox::wire::frame::{FrameError, FrameReader, Input, client_header, write_frame};
use roost_sandbox::wire::node::{Limits, Node, NodeError, decode, encode_to_vec};
use roost_sandbox::wire::noise::{Hello, Initiator, NoiseError, Transport};
use roost_sandbox::wire::proto::ClientPayload;
use roost_sandbox::wire::token::DICTIONARY_VERSION;
use roost_sandbox::wire::websocket::{self, Item, Reader, Side, WebSocketError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const READ_BYTES: usize = 4 << 10;
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Longest answer to the upgrade request.
const UPGRADE_BYTES_MAX: usize = 4 << 10;

/// Why a companion cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the sandbox closed the connection")]
    Closed,
    #[error("the sandbox did not upgrade the connection: {0}")]
    NotUpgraded(String),
    #[error(transparent)]
    WebSocket(#[from] WebSocketError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Noise(#[from] NoiseError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("the sandbox sent something unexpected: {0}")]
    Unexpected(String),
}

/// An established connection.
pub struct Wire {
    socket: Socket,
    transport: Transport,
    /// Frames that were not written yet, as one message.
    out: BytesMut,
}

struct Socket {
    stream: TcpStream,
    websocket: Reader,
    frames: FrameReader,
    read: Box<[u8]>,
    closed: bool,
}

impl Wire {
    /// Connects, upgrades and goes through the handshake.
    pub async fn open(addr: SocketAddr, key: &KeyPair, payload: &ClientPayload) -> Result<Self, WireError> {
        let mut socket = Socket::open(addr).await?;
        let header = client_header(DICTIONARY_VERSION);
        let initiator = Initiator::new(&header, Hello::Xx);
        let mut out = websocket::begin(256);
        out.put_slice(&header);
        write_frame(&mut out, initiator.hello())?;
        socket.write(out).await?;
        let greeted = initiator.read(&socket.next_frame().await?)?;
        let (finish, transport) = greeted.finish(key, &payload.encode_to_vec())?;
        let mut out = websocket::begin(finish.len() + 3);
        write_frame(&mut out, &finish)?;
        socket.write(out).await?;
        Ok(Self {
            socket,
            transport,
            out: websocket::begin(0),
        })
    }

    /// Adds a stanza to what is written next.
    pub fn queue(&mut self, node: &Node) -> Result<(), WireError> {
        let plain = encode_to_vec(node)?;
        self.transport.sender.seal_frame(&plain, &mut self.out)?;
        Ok(())
    }

    /// Writes what was queued.
    pub async fn flush(&mut self) -> Result<(), WireError> {
        if websocket::length(&self.out) > 0 {
            let out = std::mem::replace(&mut self.out, websocket::begin(0));
            self.socket.write(out).await?;
        }
        Ok(())
    }

    /// The next stanza. Cancelling loses nothing.
    pub async fn next(&mut self) -> Result<Node, WireError> {
        let frame = self.socket.next_frame().await?;
        let plain = self.transport.open(frame)?;
        Ok(decode(plain.freeze(), Limits::default())?)
    }

    /// A stanza that has arrived already.
    pub fn next_ready(&mut self) -> Result<Option<Node>, WireError> {
        self.next().now_or_never().transpose()
    }
}

impl Socket {
    async fn open(addr: SocketAddr) -> Result<Self, WireError> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let mut socket = Self {
            stream,
            websocket: Reader::new(Side::Client, u64::MAX),
            frames: FrameReader::client(FRAME_BYTES_MAX),
            read: vec![0; READ_BYTES].into(),
            closed: false,
        };
        socket.upgrade(addr).await?;
        Ok(socket)
    }

    async fn upgrade(&mut self, addr: SocketAddr) -> Result<(), WireError> {
        // The key is there to tell caches apart, of which there are none on loopback.
        let request = format!(
            "GET /ws/chat HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cm9vc3QtbG9hZC10b29sIQ==\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes()).await?;
        let mut answer = BytesMut::with_capacity(UPGRADE_BYTES_MAX);
        let end = loop {
            if let Some(at) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if answer.len() >= UPGRADE_BYTES_MAX || self.stream.read_buf(&mut answer).await? == 0 {
                return Err(WireError::Closed);
            }
        };
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            let line = answer[..].split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Err(WireError::NotUpgraded(String::from_utf8_lossy(line).into_owned()));
        }
        let mut rest = answer.split_off(end);
        self.take(&mut rest)
    }

    async fn write(&mut self, message: BytesMut) -> Result<(), WireError> {
        let message = websocket::finish(message, Some(rand::random()));
        Ok(self.stream.write_all(&message).await?)
    }

    async fn next_frame(&mut self) -> Result<BytesMut, WireError> {
        loop {
            match self.frames.next_input()? {
                Some(Input::Frame(frame)) => return Ok(frame),
                Some(Input::Header(_)) => return Err(WireError::Unexpected("a header".to_owned())),
                None if self.closed => return Err(WireError::Closed),
                None => {}
            }
            let read = self.stream.read(&mut self.read).await?;
            if read == 0 {
                return Err(WireError::Closed);
            }
            let mut buffer = std::mem::take(&mut self.read);
            let taken = self.take(&mut buffer[..read]);
            self.read = buffer;
            taken?;
        }
    }

    fn take(&mut self, mut bytes: &mut [u8]) -> Result<(), WireError> {
        while let Some(item) = self.websocket.next(&mut bytes)? {
            match item {
                Item::Data(data) => self.frames.push(data),
                Item::Close(_) => self.closed = true,
                // The sandbox sends no pings.
                Item::Ping(_) | Item::Pong => {}
            }
        }
        Ok(())
    }
}
