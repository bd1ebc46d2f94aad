//! HTTP to the processes under test: keep-alive connections on hyper directly, because the
//! generator's own CPU is taken from the machine it measures.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::error::HttpError;

/// Longest answer that is read.
const BODY_BYTES_MAX: usize = 32 << 20;
/// How long one call may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// One HTTP call.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub body: Bytes,
    pub accept: Option<&'static str>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

impl Call {
    /// A GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// A POST of nothing.
    pub fn order(path: impl Into<String>) -> Self {
        Self {
            method: Method::POST,
            ..Self::get(path)
        }
    }

    /// A POST of JSON.
    pub fn post(path: impl Into<String>, body: &serde_json::Value) -> Self {
        Self {
            method: Method::POST,
            path: path.into(),
            body: Bytes::from(body.to_string()),
            ..Self::default()
        }
    }
}

/// An answer, read in full.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

/// Where to call and with which credential.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub addr: SocketAddr,
    authorization: Option<HeaderValue>,
    host: HeaderValue,
}

impl Endpoint {
    /// An endpoint; `key` becomes a bearer token.
    pub fn new(addr: SocketAddr, key: Option<&str>) -> Result<Self, HttpError> {
        let header = |text: String| HeaderValue::try_from(text).map_err(hyper::http::Error::from);
        Ok(Self {
            addr,
            authorization: key.map(|key| header(format!("Bearer {key}"))).transpose()?,
            host: header(addr.to_string())?,
        })
    }
}

impl Endpoint {
    /// The same without a credential.
    pub fn without_key(&self) -> Self {
        Self {
            authorization: None,
            ..self.clone()
        }
    }
}

/// One keep-alive connection; it is opened when needed.
#[derive(Debug)]
pub struct Connection {
    endpoint: Endpoint,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// A connection that is not open yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            sender: None,
        }
    }

    /// Makes the call and reads the answer, within [`CALL_TIMEOUT`].
    pub async fn call(&mut self, call: &Call) -> Result<Answer, HttpError> {
        let exchange = async {
            let response = self.open(call).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
                .collect()
                .await
                .map_err(HttpError::Body)?
                .to_bytes();
            Ok(Answer { status, body })
        };
        let answer = tokio::time::timeout(CALL_TIMEOUT, exchange).await;
        let answer = answer.unwrap_or(Err(HttpError::Timeout(CALL_TIMEOUT)));
        if answer.is_err() {
            // Part of an answer may still be on its way: the connection cannot be used again.
            self.sender = None;
        }
        answer
    }

    /// Makes the call and returns the answer with its body unread, for streams.
    pub async fn open(&mut self, call: &Call) -> Result<Response<Incoming>, HttpError> {
        let request = self.request(call)?;
        let reused = self.sender.is_some();
        match self.ready().await?.try_send_request(request).await {
            Ok(response) => Ok(response),
            Err(mut error) => {
                self.sender = None;
                match error.take_message() {
                    // The server closed the idle connection before anything was written to it.
                    Some(request) if reused => Ok(self.ready().await?.send_request(request).await?),
                    _ => Err(error.into_error().into()),
                }
            }
        }
    }

    async fn ready(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, HttpError> {
        let usable = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            self.sender = None;
        }
        if self.sender.is_none() {
            let stream = TcpStream::connect(self.endpoint.addr)
                .await
                .map_err(HttpError::Connect)?;
            stream.set_nodelay(true).map_err(HttpError::Connect)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Ends with the sender; its errors reach the caller through the sender.
            tokio::spawn(connection);
            return Ok(self.sender.insert(sender));
        }
        self.sender
            .as_mut()
            .ok_or_else(|| HttpError::Connect(std::io::ErrorKind::NotConnected.into()))
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(&call.path)
            .header(HOST, &self.endpoint.host);
        if let Some(authorization) = &self.endpoint.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(accept) = call.accept {
            request = request.header(ACCEPT, accept);
        }
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        Ok(request.body(Full::new(call.body.clone()))?)
    }
}

/// Keeps connections for calls that are not on the measured path.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    idle: Mutex<Vec<Connection>>,
}

/// Idle connections that are kept.
const IDLE_MAX: usize = 64;

impl Client {
    /// A client without connections yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// A connection of the caller's own.
    pub fn connection(&self) -> Connection {
        Connection::new(self.endpoint.clone())
    }

    /// Makes one call on an idle or a new connection.
    pub async fn call(&self, call: &Call) -> Result<Answer, HttpError> {
        let idle = self.idle().pop();
        let mut connection = idle.unwrap_or_else(|| self.connection());
        let answer = connection.call(call).await;
        let mut idle = self.idle();
        if answer.is_ok() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        answer
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // A panic cannot leave a list of connections half changed.
        self.idle
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
