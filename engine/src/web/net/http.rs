//! HTTP for the library: media and nothing else.
//!
//! Links without a proxy share one connection pool per engine; a link with a proxy makes its own
//! client when it first needs one, so that idle links cost nothing.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, Url};
use rustls::ClientConfig;
use tokio::runtime::Handle;
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest, HttpResponse, StreamingHttpResponse};

use super::endpoint::check_host;
use super::proxy::Proxy;
use crate::web::tenure::Tenure;

/// Limits of one exchange.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct HttpLimits {
    /// For the connection.
    pub(in crate::web) connect_timeout: Duration,
    /// Between two reads of a body.
    pub(in crate::web) read_timeout: Duration,
    /// For everything together.
    pub(in crate::web) total_timeout: Duration,
    /// Longest body that is taken.
    pub(in crate::web) body_bytes_max: u64,
}

/// What the HTTP clients of all links share.
pub(in crate::web) struct SharedHttp {
    limits: HttpLimits,
    tls: Arc<ClientConfig>,
    direct: OnceLock<Client>,
}

impl SharedHttp {
    pub(in crate::web) fn new(limits: HttpLimits, tls: Arc<ClientConfig>) -> Self {
        Self {
            limits,
            tls,
            direct: OnceLock::new(),
        }
    }

    #[allow(clippy::disallowed_methods, reason = "this is the module that owns it")]
    fn client(&self, proxy: Option<&Proxy>) -> anyhow::Result<Client> {
        let builder = Client::builder()
            .tls_backend_preconfigured((*self.tls).clone())
            .redirect(Policy::none())
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .connect_timeout(self.limits.connect_timeout)
            .read_timeout(self.limits.read_timeout)
            .timeout(self.limits.total_timeout)
            // Also without a proxy: the environment of the process must not decide where we go.
            .no_proxy();
        let builder = match proxy {
            None => builder,
            Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy.url.clone()).context("proxy")?),
        };
        builder.build().context("could not make an HTTP client")
    }
}

const POOL_IDLE_MAX: usize = 4;

/// The HTTP client of one link.
pub(in crate::web) struct LinkHttp {
    shared: Arc<SharedHttp>,
    tenure: Tenure,
    proxy: Option<Proxy>,
    own: OnceLock<Client>,
}

impl LinkHttp {
    pub(in crate::web) fn new(shared: Arc<SharedHttp>, tenure: Tenure, proxy: Option<Proxy>) -> Self {
        Self {
            shared,
            tenure,
            proxy,
            own: OnceLock::new(),
        }
    }

    fn client(&self) -> anyhow::Result<&Client> {
        let cell = if self.proxy.is_some() {
            &self.own
        } else {
            &self.shared.direct
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = self.shared.client(self.proxy.as_ref())?;
        Ok(cell.get_or_init(|| client))
    }

    async fn answer(&self, request: HttpRequest) -> anyhow::Result<Response> {
        self.tenure.check()?;
        let url = Url::parse(&request.url).context("malformed URL")?;
        check_host(url.host_str().unwrap_or_default())?;
        let method = Method::from_bytes(request.method.as_bytes()).context("malformed method")?;
        let mut builder = self.client()?.request(method, url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        let response = builder.send().await.map_err(reqwest::Error::without_url)?;
        if response
            .content_length()
            .is_some_and(|length| length > self.shared.limits.body_bytes_max)
        {
            bail!(
                "the body is longer than {} bytes",
                self.shared.limits.body_bytes_max
            );
        }
        Ok(response)
    }
}

#[async_trait]
impl HttpClient for LinkHttp {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let mut response = self.answer(request).await?;
        let status_code = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if (body.len() + chunk.len()) as u64 > self.shared.limits.body_bytes_max {
                bail!(
                    "the body is longer than {} bytes",
                    self.shared.limits.body_bytes_max
                );
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status_code, body })
    }

    fn supports_streaming(&self) -> bool {
        true
    }

    /// Called by the library from a blocking task, where waiting is allowed.
    fn execute_streaming(&self, request: HttpRequest) -> anyhow::Result<StreamingHttpResponse> {
        let runtime = Handle::try_current().map_err(|_| anyhow!("called outside of the runtime"))?;
        let response = runtime.block_on(self.answer(request))?;
        Ok(StreamingHttpResponse {
            status_code: response.status().as_u16(),
            body: Box::new(Body {
                runtime,
                response,
                chunk: Bytes::new(),
                left: self.shared.limits.body_bytes_max,
            }),
        })
    }
}

/// A response body as a blocking reader that ends with an error at the limit.
struct Body {
    runtime: Handle,
    response: Response,
    chunk: Bytes,
    left: u64,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let chunk = self.runtime.block_on(self.response.chunk());
            match chunk.map_err(|error| io::Error::other(error.without_url()))? {
                None => return Ok(0),
                Some(chunk) => self.chunk = chunk,
            }
            self.left = self
                .left
                .checked_sub(self.chunk.len() as u64)
                .ok_or_else(|| io::Error::other("the body is longer than allowed"))?;
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
