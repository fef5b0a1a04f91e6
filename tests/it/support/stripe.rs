//! A stand-in for Stripe: the few endpoints that are used, in Stripe's documented shapes.
//!
//! It records what it is asked, honours idempotency keys as Stripe does, and can be told to be
//! slow, to fail, to talk rubbish, or to hang up in the middle of an answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{START, time};

/// How the stand-in behaves.
#[derive(Clone, Debug, PartialEq)]
pub enum Mood {
    Good,
    Slow(Duration),
    Answers(u16),
    Rubbish,
    HangsUp,
}

/// A question it was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub bearer: String,
    pub idempotency_key: String,
    pub form: BTreeMap<String, String>,
}

type Fields = Vec<(String, String)>;

struct Inner {
    mood: Mood,
    now: i64,
    page: usize,
    asked: Vec<Asked>,
    /// Oldest first.
    sessions: Vec<Value>,
    answered: HashMap<String, (Fields, Value)>,
}

/// The stand-in. Clones share it.
#[derive(Clone)]
pub struct Stripe {
    pub base: String,
    inner: Arc<Mutex<Inner>>,
}

impl Stripe {
    /// Listens on a port of its own.
    pub async fn start() -> Self {
        let inner = Arc::new(Mutex::new(Inner {
            mood: Mood::Good,
            now: time(START).timestamp(),
            page: 100,
            asked: Vec::new(),
            sessions: Vec::new(),
            answered: HashMap::new(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let stripe = Self {
            base: format!("http://{address}"),
            inner,
        };
        let router = Router::new()
            .route("/v1/checkout/sessions", post(create).get(list))
            .route("/v1/checkout/sessions/{id}", get(read_session))
            .route("/v1/payment_intents/{id}", get(read_intent))
            .layer(axum::middleware::from_fn_with_state(stripe.clone(), moody))
            .with_state(stripe.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        stripe
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics in here")
    }

    /// Has it behave so from now on.
    pub fn be(&self, mood: Mood) {
        self.inner().mood = mood;
    }

    /// Puts its clock to an instant.
    pub fn at(&self, instant: &str) {
        self.inner().now = time(instant).timestamp();
    }

    /// Has lists come in pages of so many.
    pub fn pages_of(&self, count: usize) {
        self.inner().page = count;
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.inner().asked.clone()
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.inner().sessions.len()
    }

    /// Changes a session: the last one of a checkout.
    fn change(&self, checkout: &str, change: impl FnOnce(&mut Value)) {
        let mut inner = self.inner();
        let session = inner
            .sessions
            .iter_mut()
            .rev()
            .find(|session| session["client_reference_id"] == checkout)
            .expect("the checkout has a session");
        change(session);
    }

    /// The customer pays a checkout: gives the payment's name.
    pub fn pay(&self, checkout: &str) -> String {
        let now = self.inner().now;
        let intent = format!("pi_{}", checkout.replace('-', ""));
        self.change(checkout, |session| {
            session["status"] = json!("complete");
            session["payment_status"] = json!("paid");
            session["payment_intent"] = json!({
                "id": intent, "object": "payment_intent", "status": "succeeded",
                "latest_charge": {
                    "id": "ch_1", "object": "charge", "amount": session["amount_total"],
                    "amount_refunded": 0, "created": now, "disputed": false, "paid": true,
                },
            });
        });
        intent
    }

    /// The customer lets a checkout's page expire.
    pub fn expire(&self, checkout: &str) {
        self.change(checkout, |session| session["status"] = json!("expired"));
    }

    /// The customer gets so much back.
    pub fn refund(&self, checkout: &str, cents: i64) {
        self.change(checkout, |session| {
            session["payment_intent"]["latest_charge"]["amount_refunded"] = json!(cents);
        });
    }

    /// Adds a session that somebody else made.
    pub fn add(&self, session: Value) {
        self.inner().sessions.push(session);
    }

    /// A session in Stripe's shape.
    fn new_session(&self, form: &Fields) -> Value {
        let value = |name: &str| {
            let found = form.iter().find(|(field, _)| field == name);
            found.map(|(_, value)| value.clone())
        };
        let mut inner = self.inner();
        let id = format!("cs_test_{}", inner.sessions.len() + 1);
        let amount = value("line_items[0][price_data][unit_amount]");
        let amount: Option<i64> = amount.and_then(|amount| amount.parse().ok());
        let metadata: serde_json::Map<String, Value> = form
            .iter()
            .filter_map(|(field, value)| {
                let name = field.strip_prefix("metadata[")?.strip_suffix(']')?;
                Some((name.to_owned(), json!(value)))
            })
            .collect();
        let session = json!({
            "id": id, "object": "checkout.session", "mode": value("mode"), "status": "open",
            "payment_status": "unpaid", "amount_total": amount, "created": inner.now,
            "expires_at": inner.now + 86_400,
            "currency": value("line_items[0][price_data][currency]"),
            "client_reference_id": value("client_reference_id"), "metadata": metadata,
            "payment_intent": null, "success_url": value("success_url"), "livemode": false,
            "url": format!("https://checkout.stripe.com/c/pay/{id}"),
        });
        inner.sessions.push(session.clone());
        session
    }
}

/// Records the question, and answers by the mood.
async fn moody(State(stripe): State<Stripe>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20)
        .await
        .unwrap_or_else(|_| Bytes::new());
    let mood = {
        let mut inner = stripe.inner();
        let form = fields(&bytes);
        inner.asked.push(Asked {
            path: parts.uri.path().to_owned(),
            bearer: header(&parts.headers, "authorization"),
            idempotency_key: header(&parts.headers, "idempotency-key"),
            form: form.into_iter().collect(),
        });
        inner.mood.clone()
    };
    let request = Request::from_parts(parts, Body::from(bytes));
    match mood {
        Mood::Good => next.run(request).await,
        Mood::Slow(pause) => {
            tokio::time::sleep(pause).await;
            next.run(request).await
        }
        Mood::Answers(status) => refuse(status, "api_error", "something"),
        Mood::Rubbish => (StatusCode::OK, "<html>hello</html>").into_response(),
        Mood::HangsUp => {
            let lost = futures_util::stream::iter([
                Ok(Bytes::from_static(b"{\"id\":")),
                Err(std::io::Error::other("gone")),
            ]);
            (StatusCode::OK, Body::from_stream(lost)).into_response()
        }
    }
}

fn header(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn refuse(status: u16, kind: &str, code: &str) -> Response {
    let error = json!({"type": kind, "code": code, "message": "as Stripe says it"});
    let status = StatusCode::from_u16(status).expect("a status");
    (status, Json(json!({"error": error}))).into_response()
}

async fn create(
    State(stripe): State<Stripe>,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Response {
    let key = header(&headers, "idempotency-key");
    let earlier = stripe.inner().answered.get(&key).cloned();
    match earlier {
        Some((fields, answer)) if fields == form => Json(answer).into_response(),
        Some(_) => refuse(400, "idempotency_error", "idempotency_error"),
        None => {
            let session = stripe.new_session(&form);
            let answer = (form, session.clone());
            stripe.inner().answered.insert(key, answer);
            Json(session).into_response()
        }
    }
}

async fn read_session(State(stripe): State<Stripe>, Path(id): Path<String>) -> Response {
    let inner = stripe.inner();
    let found = inner.sessions.iter().find(|session| session["id"] == id);
    match found {
        Some(session) => Json(session.clone()).into_response(),
        None => refuse(404, "invalid_request_error", "resource_missing"),
    }
}

async fn read_intent(State(stripe): State<Stripe>, Path(id): Path<String>) -> Response {
    let inner = stripe.inner();
    let intents = inner.sessions.iter().map(|it| &it["payment_intent"]);
    match intents.into_iter().find(|intent| intent["id"] == id) {
        Some(intent) => Json(intent.clone()).into_response(),
        None => refuse(404, "invalid_request_error", "resource_missing"),
    }
}

/// Newest first, as Stripe lists.
async fn list(State(stripe): State<Stripe>, Query(query): Query<Fields>) -> Response {
    let value = |name: &str| {
        let found = query.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    };
    let number = |name: &str| value(name).and_then(|value| value.parse::<i64>().ok());
    let inner = stripe.inner();
    let from = number("created[gte]").unwrap_or(i64::MIN);
    let to = number("created[lt]").unwrap_or(i64::MAX);
    let within = |session: &&Value| {
        session["created"]
            .as_i64()
            .is_some_and(|at| (from..to).contains(&at))
    };
    let mut found: Vec<&Value> = inner.sessions.iter().rev().filter(within).collect();
    if let Some(after) = value("starting_after") {
        let place = found.iter().position(|session| session["id"] == after);
        found.drain(..=place.expect("a session of the list"));
    }
    let has_more = found.len() > inner.page;
    found.truncate(inner.page);
    let list = json!({
        "object": "list", "url": "/v1/checkout/sessions", "has_more": has_more, "data": found,
    });
    Json(list).into_response()
}

/// The fields of a form.
fn fields(bytes: &[u8]) -> Fields {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).expect("a form is a query");
    url.query_pairs().into_owned().collect()
}
