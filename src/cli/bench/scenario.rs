//! What is measured: the kinds of requests, and how one of them is made.
//!
//! The bodies are plain text, put together by hand: the load must cost less than what it measures.

use std::fmt::Write;
use std::str::FromStr;

use clap::ValueEnum;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use rand::RngExt;

/// The pool that all callers debit at once.
pub const HOT_POOL: &str = "bench-hot";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// One strict debit a request, all on one pool
    Hot,
    /// One strict debit a request, on many pools
    Spread,
    /// Balance reads of many pools
    Reads,
    /// ToolJet's balance reads of many pools
    TooljetReads,
    /// The batch route, all on one pool
    BatchHot,
    /// The batch route, each debit on another of many pools
    BatchSpread,
}

impl Kind {
    /// The name on the command line and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Spread => "spread",
            Self::Reads => "reads",
            Self::TooljetReads => "tooljet-reads",
            Self::BatchHot => "batch-hot",
            Self::BatchSpread => "batch-spread",
        }
    }

    /// Whether it needs the many pools.
    #[must_use]
    pub const fn is_spread(self) -> bool {
        !matches!(self, Self::Hot | Self::BatchHot)
    }

    /// Whether a request carries many debits.
    #[must_use]
    pub const fn is_batch(self) -> bool {
        matches!(self, Self::BatchHot | Self::BatchSpread)
    }
}

/// One load: a kind, by so many callers.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What is asked.
    pub kind: Kind,
    /// How many ask at once.
    pub callers: u32,
    /// How many pools there are, the hot one aside.
    pub pools: u32,
    /// How many debits a request of the batch route carries.
    pub items: u32,
}

impl Scenario {
    /// How many results a good answer holds.
    #[must_use]
    pub const fn results(&self) -> u64 {
        if self.kind.is_batch() {
            self.items as u64
        } else {
            1
        }
    }

    /// How many results of an answer are good.
    #[must_use]
    pub fn good_results(&self, status: u16, text: &[u8]) -> u64 {
        const BOOKED: &[u8] = br#""status":201"#;
        match (self.kind, status) {
            (Kind::Hot | Kind::Spread, 201) | (Kind::Reads | Kind::TooljetReads, 200) => 1,
            (Kind::BatchHot | Kind::BatchSpread, 200) => text
                .windows(BOOKED.len())
                .filter(|window| *window == BOOKED)
                .count() as u64,
            _ => 0,
        }
    }
}

/// The name of one of the many pools, without its kind.
#[must_use]
pub fn spread_pool(number: u32) -> String {
    format!("bench-{number}")
}

/// Makes the requests of one caller, each with idempotency keys that were never used before.
pub struct Writer {
    /// What it makes requests of.
    pub scenario: Scenario,
    host: HeaderValue,
    key: HeaderValue,
    /// Unique among all callers of all runs.
    prefix: String,
    sent: u64,
}

impl Writer {
    /// For a caller that no other shares its `prefix` with.
    #[must_use]
    pub const fn new(
        scenario: Scenario,
        host: HeaderValue,
        key: HeaderValue,
        prefix: String,
    ) -> Self {
        Self {
            scenario,
            host,
            key,
            prefix,
            sent: 0,
        }
    }

    /// The next request.
    ///
    /// # Errors
    /// Never: all its parts are good.
    pub fn next(&mut self) -> anyhow::Result<Request<Full<Bytes>>> {
        self.sent += 1;
        match self.scenario.kind {
            Kind::Hot | Kind::Spread => self.debit(),
            Kind::Reads => {
                let path = format!("/v1/pools/workspace:{}/balance", self.pool());
                self.request(Method::GET, &path, Bytes::new())
            }
            Kind::TooljetReads => {
                let path = format!("/api/ai/organizations/{}/balance", self.pool());
                self.request(Method::GET, &path, Bytes::new())
            }
            Kind::BatchHot | Kind::BatchSpread => {
                let body = self.batch();
                self.request(Method::POST, "/v1/debits/batch", body.into())
            }
        }
    }

    fn debit(&self) -> anyhow::Result<Request<Full<Bytes>>> {
        const BODY: &str = r#"{"credits":3,"operation":"custom_code","user_id":"u1"}"#;
        let path = format!("/v1/pools/workspace:{}/debits", self.pool());
        let mut request = self.request(Method::POST, &path, Bytes::from_static(BODY.as_bytes()))?;
        let key = HeaderValue::from_str(&format!("{}-{}", self.prefix, self.sent))?;
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        Ok(request)
    }

    fn batch(&self) -> String {
        let mut body = String::with_capacity(self.scenario.items as usize * 96 + 16);
        body.push_str(r#"{"items":["#);
        for item in 0..self.scenario.items {
            let comma = if item == 0 { "" } else { "," };
            let pool = self.pool();
            let key = format_args!("{}-{}-{item}", self.prefix, self.sent);
            // Writing to a text cannot fail.
            let _ = write!(
                body,
                r#"{comma}{{"pool":"workspace:{pool}","idempotency_key":"{key}","credits":3}}"#
            );
        }
        body.push_str("]}");
        body
    }

    fn pool(&self) -> String {
        if self.scenario.kind.is_spread() {
            spread_pool(rand::rng().random_range(1..=self.scenario.pools))
        } else {
            HOT_POOL.to_owned()
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_str(path)?;
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(AUTHORIZATION, self.key.clone());
        headers.insert(CONTENT_TYPE, JSON);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::Value;

    use super::*;

    fn writer(kind: Kind) -> Writer {
        let scenario = Scenario {
            kind,
            callers: 1,
            pools: 1,
            items: 3,
        };
        let header = HeaderValue::from_static("x");
        Writer::new(scenario, header.clone(), header, "run-0".to_owned())
    }

    async fn body(request: Request<Full<Bytes>>) -> Value {
        let bytes = request.into_body().collect().await.expect("it is whole");
        serde_json::from_slice(&bytes.to_bytes()).expect("it is JSON")
    }

    #[tokio::test]
    async fn every_debit_has_a_key_of_its_own() {
        let mut writer = writer(Kind::Hot);
        let first = writer.next().expect("it is good");
        let second = writer.next().expect("it is good");

        assert_eq!(first.headers()[IDEMPOTENCY_KEY], "run-0-1");
        assert_eq!(second.headers()[IDEMPOTENCY_KEY], "run-0-2");
        assert_eq!(first.uri().path(), "/v1/pools/workspace:bench-hot/debits");
        assert_eq!(body(first).await["credits"], 3);
    }

    #[tokio::test]
    async fn a_batch_has_as_many_debits_as_asked_for() {
        let request = writer(Kind::BatchSpread).next().expect("it is good");
        let items = body(request).await["items"].clone();

        assert_eq!(items.as_array().map(Vec::len), Some(3));
        assert_eq!(items[2]["idempotency_key"], "run-0-1-2");
        assert_eq!(items[2]["pool"], "workspace:bench-1");
    }

    #[test]
    fn a_batch_is_as_good_as_its_items() {
        let good =
            |kind, status, text: &str| writer(kind).scenario.good_results(status, text.as_bytes());
        let mixed = r#"{"results":[{"status":201,"debit":{}},{"status":402},{"status":201}]}"#;

        assert_eq!(good(Kind::BatchHot, 200, mixed), 2);
        assert_eq!(good(Kind::BatchHot, 503, mixed), 0);
        assert_eq!((good(Kind::Hot, 201, ""), good(Kind::Hot, 200, "")), (1, 0));
        assert_eq!(
            (good(Kind::Reads, 200, ""), good(Kind::Reads, 404, "")),
            (1, 0)
        );
    }

    #[test]
    fn the_names_are_those_of_the_command_line() {
        for kind in Kind::value_variants() {
            let value = kind.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), kind.name());
        }
    }
}
