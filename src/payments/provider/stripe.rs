//! Stripe's own words: Checkout Sessions over its REST API, form-encoded questions, JSON answers.
//!
//! A tenant's key is a header here and nowhere else. What Stripe says in prose is not repeated in
//! errors: it may speak of customers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{
    NewSession, PaidPage, PaidSession, ProviderError, Session, SessionState, product_name,
};
use crate::config::{ApiBase, Secret};
use crate::ledger::Time;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a customer's request waits for Stripe, in all.
const TIMEOUT: Duration = Duration::from_secs(4);
/// How long a page of a list may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// The version of the API whose shapes are read here, whatever the account's default is.
const VERSION: &str = "2024-06-20";
/// What Stripe answers when it is asked too often.
const TOO_MANY_REQUESTS: u16 = 429;
/// How many sessions a page of a list has: as many as Stripe gives.
const PAGE: &str = "100";

/// Stripe's API. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Stripe {
    http: reqwest::Client,
    base: ApiBase,
}

#[derive(Deserialize)]
struct RawSession {
    id: String,
    url: Option<String>,
    expires_at: Option<i64>,
    #[serde(default)]
    created: i64,
    mode: Option<String>,
    status: Option<String>,
    payment_status: Option<String>,
    payment_intent: Option<Expandable<RawIntent>>,
    #[serde(default)]
    metadata: Option<HashMap<String, String>>,
    amount_total: Option<i64>,
    currency: Option<String>,
}

#[derive(Deserialize)]
struct RawIntent {
    id: String,
    status: Option<String>,
    latest_charge: Option<Expandable<RawCharge>>,
}

#[derive(Deserialize)]
struct RawCharge {
    amount: i64,
    amount_refunded: i64,
    created: i64,
}

#[derive(Deserialize)]
struct RawList {
    data: Vec<RawSession>,
    has_more: bool,
}

/// A thing of its own, or its id where it was not asked for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Expandable<T> {
    Whole(T),
    Id(String),
}

#[derive(Default, Deserialize)]
struct RawError {
    #[serde(default)]
    error: RawErrorBody,
}

#[derive(Default, Deserialize)]
struct RawErrorBody {
    r#type: Option<String>,
    code: Option<String>,
}

impl Stripe {
    /// Stripe at an address.
    ///
    /// # Panics
    /// The machine has no randomness to speak TLS with.
    #[must_use]
    pub fn new(base: ApiBase) -> Self {
        // The roots are part of this program: the container image has none of its own.
        let roots =
            rustls::RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the cipher suites are for these versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("credit-ledger/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // A key is sent where the settings say, and nowhere else.
            .redirect(reqwest::redirect::Policy::none());
        if base.as_str().starts_with("http:") {
            client = client.no_proxy();
        }
        let http = client.build().expect("a client needs no more than this");
        Self { http, base }
    }

    /// Makes a page where a customer can pay, or finds the one that was made for this checkout.
    ///
    /// # Errors
    /// Stripe is away, refuses, or says what makes no sense.
    pub async fn create_session(
        &self,
        api_key: &Secret,
        new: NewSession<'_>,
    ) -> Result<Session, ProviderError> {
        let request = self
            .request(Method::POST, "/v1/checkout/sessions", api_key)
            .header(
                "Idempotency-Key",
                format!("credit-ledger-checkout-{}", new.checkout),
            )
            .form(&form(new));
        let session: RawSession = ask(request, TIMEOUT).await?;
        let url = session.url.filter(|url| !url.is_empty());
        let expires_at = session.expires_at.and_then(time);
        match (session.id.is_empty(), url, expires_at) {
            (false, Some(url), Some(expires_at)) => Ok(Session {
                id: session.id,
                url,
                expires_at,
            }),
            _ => Err(ProviderError::Unreadable(
                "a session without id, url or end",
            )),
        }
    }

    /// What became of a page.
    ///
    /// # Errors
    /// Stripe is away, refuses, or says what makes no sense.
    pub async fn session_state(
        &self,
        api_key: &Secret,
        id: &str,
    ) -> Result<SessionState, ProviderError> {
        let path = format!("/v1/checkout/sessions/{id}");
        let request = self.request(Method::GET, &path, api_key);
        let session: RawSession = match ask(request, TIMEOUT).await {
            Err(ProviderError::Refused { status: 404, .. }) => return Ok(SessionState::Gone),
            answer => answer?,
        };
        match session.status.as_deref() {
            Some("open") => Ok(SessionState::Open),
            Some("complete") => Ok(SessionState::Complete),
            Some("expired") => Ok(SessionState::Gone),
            _ => Err(ProviderError::Unreadable("a session without a status")),
        }
    }

    /// A page of the payments whose sessions were made from `from` on and before `to`: those that
    /// are paid and say that they are for credits.
    ///
    /// # Errors
    /// Stripe is away, refuses, or says what makes no sense.
    pub async fn paid_sessions(
        &self,
        api_key: &Secret,
        (from, to): (Time, Time),
        after: Option<&str>,
    ) -> Result<PaidPage, ProviderError> {
        let mut query = vec![
            ("created[gte]", from.timestamp().to_string()),
            ("created[lt]", to.timestamp().to_string()),
            ("limit", PAGE.to_owned()),
            ("expand[]", "data.payment_intent.latest_charge".to_owned()),
        ];
        query.extend(after.map(|id| ("starting_after", id.to_owned())));
        let request = self
            .request(Method::GET, "/v1/checkout/sessions", api_key)
            .query(&query);
        let list: RawList = ask(request, LIST_TIMEOUT).await?;
        let last = list.data.last().map(|session| session.id.clone());
        let paid = list.data.into_iter().filter_map(paid_session);
        Ok(PaidPage {
            paid: paid.collect::<Result<_, _>>()?,
            next: last.filter(|_| list.has_more),
        })
    }

    /// Whether a payment with this name was made; `None` for a name that is none of Stripe's.
    ///
    /// # Errors
    /// Stripe is away, refuses, or says what makes no sense.
    pub async fn is_paid(
        &self,
        api_key: &Secret,
        reference: &str,
    ) -> Result<Option<bool>, ProviderError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !reference.bytes().all(plain) {
            return Ok(None);
        }
        let paid = if reference.starts_with("pi_") {
            let path = format!("/v1/payment_intents/{reference}");
            let request = self.request(Method::GET, &path, api_key);
            found(ask::<RawIntent>(request, LIST_TIMEOUT).await)?
                .is_some_and(|intent| intent.status.as_deref() == Some("succeeded"))
        } else if reference.starts_with("cs_") {
            let path = format!("/v1/checkout/sessions/{reference}");
            let request = self.request(Method::GET, &path, api_key);
            found(ask::<RawSession>(request, LIST_TIMEOUT).await)?
                .is_some_and(|session| is_paid(&session))
        } else {
            return Ok(None);
        };
        Ok(Some(paid))
    }

    fn request(&self, method: Method, path: &str, api_key: &Secret) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base.as_str()))
            .bearer_auth(api_key.expose())
            .header("Stripe-Version", VERSION)
    }
}

/// The question for a session, in Stripe's fields.
fn form(new: NewSession<'_>) -> Vec<(&'static str, String)> {
    let price = new.price;
    let (pool, credits) = (new.pool.to_string(), price.credits.to_string());
    let checkout = new.checkout.to_string();
    let mut form = vec![
        ("mode", "payment".to_owned()),
        ("line_items[0][quantity]", "1".to_owned()),
        (
            "line_items[0][price_data][currency]",
            price.currency.clone(),
        ),
        (
            "line_items[0][price_data][unit_amount]",
            price.total_cents.to_string(),
        ),
        (
            "line_items[0][price_data][product_data][name]",
            product_name(price),
        ),
        ("success_url", new.success_url.to_owned()),
        ("cancel_url", new.cancel_url.to_owned()),
        ("client_reference_id", checkout.clone()),
        ("metadata[pool]", pool.clone()),
        ("metadata[credits]", credits.clone()),
        ("metadata[checkout_id]", checkout.clone()),
        ("payment_intent_data[metadata][pool]", pool),
        ("payment_intent_data[metadata][credits]", credits),
        ("payment_intent_data[metadata][checkout_id]", checkout),
    ];
    form.extend(
        new.customer_email
            .map(|email| ("customer_email", email.to_owned())),
    );
    form
}

/// Sends a question and reads the answer, within so long.
async fn ask<T: DeserializeOwned>(
    request: RequestBuilder,
    timeout: Duration,
) -> Result<T, ProviderError> {
    let away = |error: reqwest::Error| ProviderError::Unavailable(Some(error.without_url()));
    let answer = request.timeout(timeout).send().await.map_err(away)?;
    let status = answer.status();
    let body = read(answer).await?;
    if status.is_success() {
        return serde_json::from_slice(&body)
            .map_err(|_| ProviderError::Unreadable("the body is not what the API documents"));
    }
    let said: RawError = serde_json::from_slice(&body).unwrap_or_default();
    let busy = said.error.code.as_deref() == Some("idempotency_key_in_use");
    if status.as_u16() == TOO_MANY_REQUESTS || busy {
        return Err(ProviderError::Unavailable(None));
    }
    // Words like `card_error`, never prose.
    let word = said.error.code.or(said.error.r#type);
    let is_word = |text: &String| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        text.len() <= 64 && text.bytes().all(plain)
    };
    Err(ProviderError::Refused {
        status: status.as_u16(),
        what: word.filter(is_word),
    })
}

/// The whole body, if it is not larger than any answer of Stripe's.
async fn read(mut answer: Response) -> Result<Vec<u8>, ProviderError> {
    let mut body = Vec::new();
    loop {
        let chunk = answer.chunk().await;
        let chunk = chunk.map_err(|error| ProviderError::Unavailable(Some(error.without_url())))?;
        let Some(chunk) = chunk else {
            return Ok(body);
        };
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(ProviderError::Unreadable("the body does not end"));
        }
    }
}

/// What was asked for, or nothing where there is no such thing.
fn found<T>(answer: Result<T, ProviderError>) -> Result<Option<T>, ProviderError> {
    match answer {
        Err(ProviderError::Refused { status: 404, .. }) => Ok(None),
        answer => answer.map(Some),
    }
}

fn is_paid(session: &RawSession) -> bool {
    let paid = ["paid", "no_payment_required"];
    session
        .payment_status
        .as_deref()
        .is_some_and(|status| paid.contains(&status))
}

/// The payment of a session, if it is paid and for credits of ours.
fn paid_session(session: RawSession) -> Option<Result<PaidSession, ProviderError>> {
    let metadata = session.metadata.as_ref();
    let said = |name: &str| metadata.and_then(|metadata| metadata.get(name)).cloned();
    let (pool, credits) = (said("pool"), said("credits"));
    let is_ours = pool.is_some() || credits.is_some();
    if !is_paid(&session) || !is_ours || session.mode.as_deref() != Some("payment") {
        return None;
    }
    let (intent, charge) = match session.payment_intent {
        Some(Expandable::Whole(intent)) => match intent.latest_charge {
            Some(Expandable::Whole(charge)) => (Some(intent.id), Some(charge)),
            Some(Expandable::Id(_)) | None => (Some(intent.id), None),
        },
        Some(Expandable::Id(id)) => (Some(id), None),
        None => (None, None),
    };
    let reference = intent.unwrap_or_else(|| session.id.clone());
    let paid_at = time(
        charge
            .as_ref()
            .map_or(session.created, |charge| charge.created),
    );
    let (Ok(reference), Some(paid_at)) = (reference.parse(), paid_at) else {
        return Some(Err(ProviderError::Unreadable(
            "a payment without a name or time",
        )));
    };
    Some(Ok(PaidSession {
        reference,
        pool,
        credits,
        checkout: said("checkout_id").and_then(|id| id.parse().ok()),
        paid_at,
        amount_cents: charge
            .as_ref()
            .map_or(session.amount_total.unwrap_or(0), |charge| charge.amount),
        currency: session.currency,
        refunded_cents: charge.map_or(0, |charge| charge.amount_refunded),
        session: session.id,
    }))
}

fn time(seconds: i64) -> Option<Time> {
    DateTime::from_timestamp(seconds, 0)
}
