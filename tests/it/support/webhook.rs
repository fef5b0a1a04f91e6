//! Stripe as a webhook sees it: events in its documented shapes, signed as it signs them.

use credit_ledger::clock::Clock;
use credit_ledger::jobs::payments::{self, Place, Retried};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Reply, TestApp};

/// What the tenant's events are signed with.
pub const SECRET: &str = "whsec_of_the_tests";

/// The header `Stripe-Signature` of a body.
pub fn sign(at: i64, body: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key is good");
    mac.update(format!("{at}.{body}").as_bytes());
    let bytes = mac.finalize().into_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={hex}")
}

/// A payment of 500 cents for 500 credits of `workspace:w`, and the events that tell of it.
#[derive(Clone, Debug)]
pub struct Payment {
    pub reference: String,
    pub metadata: Value,
    pub amount: i64,
    pub created: i64,
}

impl Payment {
    pub fn new(reference: &str, created: i64) -> Self {
        Self {
            reference: reference.to_owned(),
            metadata: json!({"pool": "workspace:w", "credits": "500"}),
            amount: 500,
            created,
        }
    }

    pub fn session(&self) -> Value {
        json!({
            "id": format!("cs_{}", self.reference), "object": "checkout.session",
            "mode": "payment", "payment_status": "paid", "status": "complete",
            "payment_intent": self.reference, "amount_total": self.amount, "currency": "usd",
            "metadata": self.metadata, "customer_details": {"email": "a@example.com"},
        })
    }

    pub fn completed(&self) -> Value {
        self.event("checkout.session.completed", "completed", &self.session())
    }

    pub fn refunded(&self, amount: i64) -> Value {
        let charge = json!({
            "id": format!("ch_{}", self.reference), "object": "charge",
            "payment_intent": self.reference, "amount": self.amount, "amount_captured": self.amount,
            "amount_refunded": amount, "refunded": amount == self.amount, "currency": "usd",
        });
        self.event("charge.refunded", &format!("refunded{amount}"), &charge)
    }

    pub fn disputed(&self, step: &str, status: &str, amount: i64) -> Value {
        let dispute = json!({
            "id": format!("dp_{}", self.reference), "object": "dispute",
            "charge": format!("ch_{}", self.reference), "payment_intent": self.reference,
            "amount": amount, "currency": "usd", "reason": "fraudulent", "status": status,
        });
        let kind = format!("charge.dispute.{step}");
        self.event(&kind, &format!("{step}-{status}"), &dispute)
    }

    pub fn event(&self, kind: &str, id: &str, object: &Value) -> Value {
        json!({
            "id": format!("evt_{}_{id}", self.reference), "object": "event", "type": kind,
            "api_version": "2025-09-30.clover", "created": self.created, "livemode": false,
            "data": {"object": object}, "pending_webhooks": 1,
            "request": {"id": null, "idempotency_key": null},
        })
    }
}

impl TestApp {
    /// A service with a tenant that takes Stripe's events, and a pool that may buy.
    pub async fn with_events() -> Self {
        let app = Self::start().await;
        app.take_events(&[SECRET]).await;
        app.put_pool("workspace:w", json!({"plan": "pro"}))
            .await
            .expect(201);
        app
    }

    /// Sets the secrets that events may be signed with.
    pub async fn take_events(&self, secrets: &[&str]) {
        let body = json!({"webhook_secrets": secrets});
        let put = self.put("/v1/payments/stripe").json(&body).send().await;
        put.expect(200);
    }

    /// A payment made now.
    pub fn payment(&self, reference: &str) -> Payment {
        Payment::new(reference, self.clock.now().timestamp())
    }

    /// Where the tenant's events go.
    pub fn webhook(&self) -> String {
        format!("/v1/payments/stripe/{}/webhook", self.tenant)
    }

    /// Delivers an event as Stripe would now.
    pub async fn deliver(&self, event: &Value) -> Reply {
        let body = event.to_string();
        let signature = sign(self.clock.now().timestamp(), &body, SECRET);
        self.deliver_raw(&body, Some(&signature)).await
    }

    /// Delivers a body with this signature.
    pub async fn deliver_raw(&self, body: &str, signature: Option<&str>) -> Reply {
        let call = self
            .with_key("")
            .call(reqwest::Method::POST, &self.webhook());
        let call = call.raw(body.to_owned());
        match signature {
            Some(signature) => call.set("stripe-signature", signature).send().await,
            None => call.send().await,
        }
    }

    /// The exceptions, newest first.
    pub async fn exceptions(&self) -> Vec<Value> {
        let page = self.get("/v1/payments/exceptions").send().await.expect(200);
        page.body["data"].as_array().expect("a page").clone()
    }

    /// The tenant's purchases, newest first.
    pub async fn purchases(&self) -> Vec<Value> {
        let page = self.get("/v1/purchases").send().await.expect(200);
        page.body["data"].as_array().expect("a page").clone()
    }

    /// One go of the job that tries payments again.
    pub async fn retry_payments(&self) -> Retried {
        let clock = Clock::from(self.clock.clone());
        let retried =
            payments::retry(&self.store, &self.payments, &clock, &mut Place::default()).await;
        retried.expect("the database is there")
    }
}
