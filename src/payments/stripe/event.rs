//! Stripe's events, read into [`Event`]s. Only the fields that are used are read; others may come
//! and go. What is ours and cannot be read is an error, so that Stripe tries again and shows it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::ledger::{Label, Time};
use crate::payments::event::{DisputeStatus, Event, Loss, LossKind, Paid, What};

/// Why an event cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// It is not JSON, or a field is not as Stripe documents it.
    #[error("the event cannot be read")]
    Shape(#[from] serde_json::Error),
    /// A field is missing or is nothing we could keep.
    #[error("the event's {0} cannot be read")]
    Field(&'static str),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    created: i64,
    #[serde(borrow)]
    data: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    object: &'a RawValue,
}

/// A Checkout Session.
#[derive(Deserialize)]
struct Session {
    id: String,
    mode: Option<String>,
    payment_status: Option<String>,
    payment_intent: Option<Named>,
    amount_total: Option<i64>,
    currency: Option<String>,
    metadata: Option<Map<String, Value>>,
}

/// A Charge.
#[derive(Deserialize)]
struct Charge {
    id: String,
    payment_intent: Option<Named>,
    amount: Option<i64>,
    amount_refunded: i64,
}

/// A Dispute.
#[derive(Deserialize)]
struct Dispute {
    id: String,
    charge: Option<Named>,
    payment_intent: Option<Named>,
    amount: i64,
    status: String,
}

/// Another object, by its id or as a whole.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Id(String),
    Whole { id: String },
}

/// Reads an event whose signature is good.
///
/// # Errors
/// It is no event, or one that concerns us and lacks what we need of it.
pub fn read(body: &[u8]) -> Result<Event, EventError> {
    let envelope: Envelope<'_> = serde_json::from_slice(body)?;
    let created = Time::from_timestamp(envelope.created, 0);
    let created = created.ok_or(EventError::Field("created"))?;
    let object = envelope.data.object.get();
    let what = match envelope.kind.as_ref() {
        "checkout.session.completed" => session(object, created)?,
        "checkout.session.async_payment_succeeded" => {
            let session: Session = serde_json::from_str(object)?;
            session.paid(created)?
        }
        "checkout.session.async_payment_failed" | "checkout.session.expired" => {
            let session: Session = serde_json::from_str(object)?;
            What::Expired(session.said("checkout_id"))
        }
        "charge.refunded" => refunded(serde_json::from_str(object)?)?,
        "charge.dispute.created" | "charge.dispute.updated" | "charge.dispute.closed" => {
            disputed(serde_json::from_str(object)?)?
        }
        _ => What::Nothing,
    };
    let id = label("id", envelope.id.into_owned())?;
    Ok(Event { id, created, what })
}

fn session(object: &str, created: Time) -> Result<What, EventError> {
    let session: Session = serde_json::from_str(object)?;
    match session.payment_status.as_deref() {
        Some("paid" | "no_payment_required") => session.paid(created),
        // The money is on its way: another event will tell.
        _ => Ok(What::Nothing),
    }
}

impl Session {
    fn paid(self, created: Time) -> Result<What, EventError> {
        let is_payment = self.mode.as_deref().is_none_or(|mode| mode == "payment");
        let (pool, credits) = (self.said("pool"), self.said("credits"));
        if !is_payment || (pool.is_none() && credits.is_none()) {
            return Ok(What::NotOurs);
        }
        let checkout = self.said("checkout_id");
        let user_id = self.said("user_id");
        let currency = self.currency.map(|currency| currency.to_ascii_lowercase());
        let is_code =
            |text: &String| text.len() == 3 && text.bytes().all(|b| b.is_ascii_lowercase());
        let reference = self.payment_intent.map_or(self.id, Named::id);
        Ok(What::Paid(Box::new(Paid {
            reference: label("payment_intent", reference)?,
            paid_at: created,
            pool,
            credits,
            checkout,
            user_id: user_id.and_then(|user_id| Label::try_from(user_id).ok()),
            amount: self.amount_total.filter(|amount| *amount >= 0),
            currency: currency.filter(is_code),
        })))
    }

    /// What the metadata says; Stripe's values are always texts, but a number is clear as well.
    fn said(&self, name: &str) -> Option<String> {
        match self.metadata.as_ref()?.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

fn refunded(charge: Charge) -> Result<What, EventError> {
    let amount = positive("amount_refunded", charge.amount_refunded)?;
    Ok(What::Lost(Loss {
        reference: named("payment_intent", charge.payment_intent)?,
        charge: Some(label("id", charge.id)?),
        charged: charge.amount.filter(|amount| *amount > 0),
        kind: LossKind::Refunded(amount),
    }))
}

/// A dispute counts until it is decided, an inquiry among them; one that ends without a dispute, or
/// is prevented, is as good as won.
fn disputed(dispute: Dispute) -> Result<What, EventError> {
    let status = match dispute.status.as_str() {
        "won" | "warning_closed" | "prevented" => DisputeStatus::Won,
        "lost" => DisputeStatus::Lost,
        _ => DisputeStatus::Open,
    };
    let amount = positive("amount", dispute.amount)?;
    Ok(What::Lost(Loss {
        reference: named("payment_intent", dispute.payment_intent)?,
        charge: named("charge", dispute.charge)?,
        charged: None,
        kind: LossKind::Disputed {
            id: label("id", dispute.id)?,
            amount,
            status,
        },
    }))
}

fn positive(field: &'static str, amount: i64) -> Result<i64, EventError> {
    Some(amount)
        .filter(|amount| *amount >= 0)
        .ok_or(EventError::Field(field))
}

fn label(field: &'static str, text: String) -> Result<Label, EventError> {
    Label::try_from(text).map_err(|_| EventError::Field(field))
}

fn named(field: &'static str, object: Option<Named>) -> Result<Option<Label>, EventError> {
    object.map(|object| label(field, object.id())).transpose()
}

impl Named {
    fn id(self) -> String {
        match self {
            Self::Id(id) | Self::Whole { id } => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn what(kind: &str, object: &Value) -> What {
        let event = json!({
            "id": "evt_1", "object": "event", "api_version": "2025-09-30", "created": 1_769_853_600,
            "type": kind, "livemode": false, "data": {"object": object, "previous_attributes": {}},
            "pending_webhooks": 1, "request": {"id": null, "idempotency_key": null},
        });
        let event = read(event.to_string().as_bytes()).expect("an event");
        assert_eq!(event.created.to_rfc3339(), "2026-01-31T10:00:00+00:00");
        event.what
    }

    fn session(changes: Value) -> Value {
        let mut session = json!({
            "id": "cs_1", "object": "checkout.session", "mode": "payment", "currency": "USD",
            "payment_status": "paid", "payment_intent": "pi_1", "amount_total": 500,
            "metadata": {"pool": "workspace:w", "credits": "500", "user_id": "u-1"},
            "custom_fields": [], "customer_details": {"email": "a@example.com"},
        });
        for (name, value) in changes.as_object().expect("changes") {
            session[name] = value.clone();
        }
        session
    }

    fn paid(object: &Value) -> Paid {
        match what("checkout.session.completed", object) {
            What::Paid(paid) => *paid,
            other => panic!("{other:?} of {object}"),
        }
    }

    #[test]
    fn a_paid_session_is_read() {
        let paid_one = paid(&session(json!({})));
        assert_eq!(paid_one.reference.as_str(), "pi_1");
        assert_eq!(paid_one.pool.as_deref(), Some("workspace:w"));
        assert_eq!(paid_one.credits.as_deref(), Some("500"));
        assert_eq!(paid_one.checkout, None);
        assert_eq!(paid_one.user_id.map(String::from).as_deref(), Some("u-1"));
        assert_eq!(paid_one.amount, Some(500));
        assert_eq!(paid_one.currency.as_deref(), Some("usd"));

        let whole = paid(&session(
            json!({"payment_intent": {"id": "pi_2", "amount": 500}}),
        ));
        assert_eq!(whole.reference.as_str(), "pi_2");
        let free = json!({"payment_intent": null, "payment_status": "no_payment_required"});
        assert_eq!(paid(&session(free)).reference.as_str(), "cs_1");
        let number = json!({"metadata": {"pool": "workspace:w", "credits": 500}});
        assert_eq!(paid(&session(number)).credits.as_deref(), Some("500"));
        let bare = json!({"id": "cs_1", "payment_status": "paid", "metadata": {"credits": "7"}});
        assert_eq!(paid(&bare).pool, None);
    }

    #[test]
    fn what_is_unpaid_or_not_for_credits_is_left_alone() {
        let kind = "checkout.session.completed";
        for (change, expected) in [
            (json!({"payment_status": "unpaid"}), What::Nothing),
            (json!({"mode": "subscription"}), What::NotOurs),
            (json!({"mode": "setup"}), What::NotOurs),
            (json!({"metadata": {}}), What::NotOurs),
            (json!({"metadata": null}), What::NotOurs),
            (json!({"metadata": {"seats": "5"}}), What::NotOurs),
        ] {
            assert_eq!(what(kind, &session(change.clone())), expected, "{change}");
        }
        let late = session(json!({"payment_status": "unpaid"}));
        assert!(matches!(
            what("checkout.session.async_payment_succeeded", &late),
            What::Paid(_)
        ));
        assert_eq!(what("invoice.paid", &json!({"id": 7})), What::Nothing);
        let ours = session(json!({"metadata": {"checkout_id": "c-1"}}));
        for kind in [
            "checkout.session.expired",
            "checkout.session.async_payment_failed",
        ] {
            assert_eq!(what(kind, &ours), What::Expired(Some("c-1".to_owned())));
        }
    }

    #[test]
    fn refunds_and_disputes_are_states_of_the_payment() {
        let charge = json!({
            "id": "ch_1", "payment_intent": "pi_1", "amount": 500, "amount_refunded": 200,
            "refunded": false, "metadata": {},
        });
        let What::Lost(loss) = what("charge.refunded", &charge) else {
            panic!("a refund is a loss");
        };
        assert_eq!(loss.reference.map(String::from).as_deref(), Some("pi_1"));
        assert_eq!(loss.charge.map(String::from).as_deref(), Some("ch_1"));
        assert_eq!(
            (loss.charged, loss.kind),
            (Some(500), LossKind::Refunded(200))
        );

        for (said, expected) in [
            ("needs_response", DisputeStatus::Open),
            ("warning_needs_response", DisputeStatus::Open),
            ("under_review", DisputeStatus::Open),
            ("won", DisputeStatus::Won),
            ("warning_closed", DisputeStatus::Won),
            ("lost", DisputeStatus::Lost),
        ] {
            let dispute = json!({
                "id": "dp_1", "charge": "ch_1", "payment_intent": null, "amount": 500,
                "status": said, "reason": "general",
            });
            let What::Lost(loss) = what("charge.dispute.updated", &dispute) else {
                panic!("a dispute is a loss");
            };
            assert_eq!((loss.reference, loss.charged), (None, None));
            let LossKind::Disputed { amount, status, .. } = loss.kind else {
                panic!("a dispute is disputed");
            };
            assert_eq!((amount, status), (500, expected), "{said}");
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"id":"e","type":"x","created":1}"#,
            r#"{"id":"e","type":"x","created":"1","data":{"object":{}}}"#,
            r#"{"id":"","type":"x","created":1,"data":{"object":{}}}"#,
            r#"{"id":"e","type":"charge.refunded","created":1,"data":{"object":{"id":"ch"}}}"#,
            r#"{"id":"e","type":"charge.refunded","created":1,
                "data":{"object":{"id":"ch","amount_refunded":-1}}}"#,
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
