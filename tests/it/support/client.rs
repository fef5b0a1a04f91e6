//! An HTTP client that says what a test means: `client.post("/v1/…").key("k").json(…).send()`.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

/// The operator's key of every service that tests start.
pub const OPERATOR_KEY: &str = "operator-key-of-the-tests-0123456789";

/// Talks to one service, with a key that it uses unless told otherwise.
#[derive(Clone)]
pub struct Client {
    pub base: String,
    pub bearer: String,
    http: reqwest::Client,
}

/// A request that is being written.
pub struct Call(RequestBuilder);

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The JSON body; null when it is none.
    pub body: Value,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The problem's code.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The reply, if its status is this.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Checks that it is a problem with this status and code.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        self
    }
}

impl Client {
    /// A client of the service at `base`, as the operator.
    pub fn new(base: &str) -> Self {
        // Only plain HTTP is spoken here, but reqwest wants to know how TLS would be.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client is built");
        Self {
            base: base.to_owned(),
            bearer: OPERATOR_KEY.to_owned(),
            http,
        }
    }

    /// The same client with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            bearer: key.to_owned(),
            ..self.clone()
        }
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = if self.bearer.is_empty() {
            request
        } else {
            request.bearer_auth(&self.bearer)
        };
        Call(request)
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// A POST with an idempotency key of its own; `.key()` names another.
    pub fn post(&self, path: &str) -> Call {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.call(Method::POST, path)
            .key(&format!("auto-{}-{number}", std::process::id()))
    }

    pub fn put(&self, path: &str) -> Call {
        self.call(Method::PUT, path)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// Makes a tenant with an `admin` key; gives its id and a client with that key.
    pub async fn new_tenant(&self, mode: &str) -> (String, Self) {
        let body = json!({"name": "a tenant", "mode": mode});
        let tenant = self
            .post("/v1/tenants")
            .json(&body)
            .send()
            .await
            .expect(201);
        let id = tenant.body["id"]
            .as_str()
            .expect("a tenant has an id")
            .to_owned();
        let secret = self.new_key(&id, &["admin"]).await;
        (id, self.with_key(&secret))
    }

    /// Makes a key of a tenant; gives its secret.
    pub async fn new_key(&self, tenant: &str, scopes: &[&str]) -> String {
        let body = json!({"name": "a key", "scopes": scopes});
        let path = format!("/v1/tenants/{tenant}/keys");
        let key = self.post(&path).json(&body).send().await.expect(201);
        key.body["secret"]
            .as_str()
            .expect("a new key shows its secret")
            .to_owned()
    }

    /// Puts a pool and gives what came back.
    pub async fn put_pool(&self, pool: &str, body: Value) -> Reply {
        self.put(&format!("/v1/pools/{pool}"))
            .json(&body)
            .send()
            .await
    }

    /// Debits strictly with a key of its own.
    pub async fn debit(&self, pool: &str, credits: Value) -> Reply {
        let path = format!("/v1/pools/{pool}/debits");
        self.post(&path)
            .json(&json!({"credits": credits}))
            .send()
            .await
    }

    /// POSTs to a path below `/v1/pools/` with a key of its own.
    pub async fn book(&self, path: &str, body: Value) -> Reply {
        let path = format!("/v1/pools/{path}");
        self.post(&path).json(&body).send().await
    }

    /// Opens a hold of so many credits, with a key of its own; gives its id.
    pub async fn hold(&self, pool: &str, credits: u32) -> String {
        let body = json!({"credits": credits});
        let hold = self.book(&format!("{pool}/holds"), body).await.expect(201);
        hold.body["id"].as_str().expect("an id").to_owned()
    }

    /// GETs what is at a path below `/v1/pools/`.
    pub async fn read(&self, path: &str) -> Value {
        let path = format!("/v1/pools/{path}");
        self.get(&path).send().await.expect(200).body
    }

    /// The pool's balance now.
    pub async fn balance(&self, pool: &str) -> Value {
        self.get(&format!("/v1/pools/{pool}/balance"))
            .send()
            .await
            .expect(200)
            .body
    }
}

impl Call {
    /// Names the idempotency key.
    pub fn key(self, key: &str) -> Self {
        self.set("idempotency-key", key)
    }

    /// Sets a header in place of the one that is there.
    pub fn set(self, name: &str, value: &str) -> Self {
        let (client, request) = self.0.build_split();
        let mut request = request.expect("a good request");
        let name: reqwest::header::HeaderName = name.parse().expect("a good name");
        request
            .headers_mut()
            .insert(name, value.parse().expect("a good value"));
        Self(RequestBuilder::from_parts(client, request))
    }

    /// Sends a JSON body.
    pub fn json(self, body: &Value) -> Self {
        Self(self.0.json(body))
    }

    /// Sends these bytes as JSON, whatever they are.
    pub fn raw(self, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.body(body)).set("content-type", "application/json")
    }

    pub async fn send(self) -> Reply {
        self.try_send().await.expect("the service answers")
    }

    /// Sends to a service that may be killed meanwhile.
    pub async fn try_send(self) -> Result<Reply, reqwest::Error> {
        let response = self.0.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Reply {
            status,
            headers,
            text,
            body,
        })
    }
}
