//! A small HTTP client for the commands that talk to a service: one connection, JSON in and out.
//!
//! No TLS: it talks to a service on this machine, or to one behind the operator's own network.
//! The load of `bench` has a leaner loop of its own, which looks at no more than it must.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use uuid::Uuid;

use crate::config::Secret;

/// How long connecting, or one answer, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read: a full page of a list is far below it.
const ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Where a service listens: the host and port of an `http://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority(String);

impl Authority {
    /// From `http://host[:port]`.
    ///
    /// # Errors
    /// Another scheme, or a path.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url
            .parse()
            .with_context(|| format!("{url:?} is no address"))?;
        ensure!(
            uri.scheme_str() == Some("http"),
            "{url:?} does not begin with http://"
        );
        ensure!(
            matches!(uri.path(), "" | "/") && uri.query().is_none(),
            "{url:?} has a path"
        );
        let host = uri.host().unwrap_or_default();
        Ok(Self(format!("{host}:{}", uri.port_u16().unwrap_or(80))))
    }

    /// Connects, and gives what `hyper` needs: the connection has no delay for small requests.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn connect(&self) -> anyhow::Result<TokioIo<TcpStream>> {
        let stream = timeout(PATIENCE, TcpStream::connect(&self.0)).await;
        let stream = stream
            .map_err(anyhow::Error::from)
            .and_then(|connected| Ok(connected?))
            .with_context(|| format!("nothing answers at {}", self.0))?;
        stream.set_nodelay(true)?;
        Ok(TokioIo::new(stream))
    }

    /// The `Host` header.
    ///
    /// # Errors
    /// Never for what was parsed.
    pub fn header(&self) -> anyhow::Result<HeaderValue> {
        Ok(HeaderValue::from_str(&self.0)?)
    }
}

/// The `Authorization` header of a key, hidden from logs.
///
/// # Errors
/// The key has characters that no header takes.
pub fn bearer(key: &Secret) -> anyhow::Result<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
        .context("the key has characters that no key has")?;
    header.set_sensitive(true);
    Ok(header)
}

/// One connection to a service, with one key.
pub struct Client {
    requests: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    key: HeaderValue,
}

impl Client {
    /// Connects to a service.
    ///
    /// # Errors
    /// Nothing answers.
    pub async fn connect(authority: &Authority, key: &Secret) -> anyhow::Result<Self> {
        let (requests, connection) = http1::handshake(authority.connect().await?).await?;
        // It ends with the client, or with the service: whoever waits for an answer hears of it.
        tokio::spawn(connection);
        Ok(Self {
            requests,
            host: authority.header()?,
            key: bearer(key)?,
        })
    }

    /// GET: the JSON of the answer.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// POST, with an idempotency key of its own: the JSON of the answer.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// PUT: the JSON of the answer.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub async fn put(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// Sends a request and gives the JSON of the answer.
    ///
    /// # Errors
    /// No answer, or one that is no success: then its body is the message.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let call = format!("{method} {path}");
        let request = self.request(method, path, body)?;
        let answer = timeout(PATIENCE, self.exchange(request)).await;
        let (status, text) = answer
            .map_err(anyhow::Error::from)
            .and_then(|answer| answer)
            .with_context(|| format!("{call} has no answer"))?;
        if !(200..300).contains(&status) {
            bail!("{call}: {status} {}", String::from_utf8_lossy(&text));
        }
        serde_json::from_slice(&text).with_context(|| format!("{call} does not answer JSON"))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .uri(path)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.key);
        if method == Method::POST {
            request = request.header("idempotency-key", Uuid::new_v4().to_string());
        }
        let text = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                body.to_string()
            }
            None => String::new(),
        };
        Ok(request.method(method).body(Full::new(text.into()))?)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(u16, Bytes)> {
        self.requests.ready().await?;
        let answer = self.requests.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES);
        let text = body
            .collect()
            .await
            .map_err(anyhow::Error::from_boxed)?
            .to_bytes();
        Ok((status, text))
    }
}

/// A tenant that was made for the purpose.
pub struct Tenant {
    /// Its id.
    pub id: String,
    /// An admin key of it.
    pub key: Secret,
}

impl Tenant {
    /// Makes one, as the operator.
    ///
    /// # Errors
    /// The service refuses.
    pub async fn make(
        service: &Authority,
        operator_key: &Secret,
        tenant: &Value,
    ) -> anyhow::Result<Self> {
        let mut operator = Client::connect(service, operator_key).await?;
        let tenant = operator.post("/v1/tenants", tenant).await?;
        let id = text(&tenant, "id").to_owned();
        let key = json!({"name": "admin", "scopes": ["admin"]});
        let path = format!("/v1/tenants/{id}/keys");
        let key = operator.post(&path, &key).await?;
        let key = Secret::new(text(&key, "secret"));
        Ok(Self { id, key })
    }
}

/// A text in an answer; empty when it is not there.
pub fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_plain_http_url() {
        let parse = |url| Authority::parse(url).map(|authority| authority.0).ok();

        assert_eq!(
            parse("http://127.0.0.1:8080").as_deref(),
            Some("127.0.0.1:8080")
        );
        assert_eq!(parse("http://ledger/").as_deref(), Some("ledger:80"));
        assert_eq!(parse("http://[::1]:9").as_deref(), Some("[::1]:9"));
        for bad in [
            "https://ledger",
            "ledger:80",
            "http://ledger/api",
            "",
            "http://",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
