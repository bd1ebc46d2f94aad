//! A TCP connection whose every byte the test chooses.

use bytes::{BufMut, BytesMut};
use roost_sandbox::wire::frame::{client_header, write_frame};
use roost_sandbox::wire::noise::{Hello, Initiator};
use roost_sandbox::wire::websocket::{Item, Reader, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{DEADLINE, Stage};

pub struct Raw {
    pub stream: TcpStream,
    reader: Reader,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this code in a close frame.
    Code(u16),
    /// Without a word.
    Cut,
}

/// The upgrade request.
pub fn request() -> &'static [u8] {
    b"GET /ws/chat HTTP/1.1\r\nHost: sandbox\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cm9vc3QtdGVzdC1rZXlzIQ==\r\n\r\n"
}

impl Raw {
    pub async fn connect(stage: &Stage) -> Self {
        let stream = TcpStream::connect(stage.url().trim_start_matches("http://"))
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            reader: Reader::new(Side::Client, u64::MAX),
        }
    }

    /// Connects and upgrades; the status of the answer.
    pub async fn upgrade(stage: &Stage) -> (Self, u16) {
        let mut raw = Self::connect(stage).await;
        raw.stream.write_all(request()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            let byte = raw.stream.read_u8().await.unwrap();
            answer.push(byte);
        }
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (raw, status)
    }

    /// As [`Self::upgrade`], where it must succeed.
    pub async fn upgraded(stage: &Stage) -> Self {
        let (raw, status) = Self::upgrade(stage).await;
        assert_eq!(status, 101);
        raw
    }

    /// Writes; a server that has closed already does not matter.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The bytes of the stream inside the messages, until there are `count` of them.
    pub async fn read_data(&mut self, count: usize) -> Vec<u8> {
        let mut data = Vec::new();
        let reading = async {
            let mut buffer = vec![0; 4 << 10];
            while data.len() < count {
                let read = self.stream.read(&mut buffer).await.unwrap();
                assert_ne!(read, 0, "the connection stays open");
                let mut input = &mut buffer[..read];
                while let Some(item) = self.reader.next(&mut input).unwrap() {
                    match item {
                        Item::Data(bytes) => data.extend_from_slice(bytes),
                        Item::Pong => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        };
        tokio::time::timeout(DEADLINE, reading)
            .await
            .expect("the bytes come before the deadline");
        data
    }

    /// Reads until the server is gone.
    pub async fn ended(&mut self) -> Ended {
        let reading = async {
            let mut buffer = vec![0; 4 << 10];
            let mut ended = Ended::Cut;
            loop {
                let read = match self.stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return ended,
                    Ok(read) => read,
                };
                let mut input = &mut buffer[..read];
                while let Some(item) = self.reader.next(&mut input).unwrap() {
                    if let Item::Close(code) = item {
                        ended = Ended::Code(code.unwrap_or_default());
                    }
                }
            }
        };
        tokio::time::timeout(DEADLINE, reading)
            .await
            .expect("the server closes before the deadline")
    }
}

/// What a proper client writes first, inside WebSocket messages.
pub fn opening() -> BytesMut {
    let header = client_header(3);
    let mut out = BytesMut::new();
    out.put_slice(&header);
    write_frame(&mut out, Initiator::new(&header, Hello::Xx).hello()).unwrap();
    out
}
