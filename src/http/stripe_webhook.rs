//! Where Stripe tells of payments. No key: the signature says who speaks.
//!
//! What is done about an event is `payments`'. The content type is not looked at: what is signed is
//! what Stripe sent, whatever a proxy calls it.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer;
use super::extract::{PathTenant, RawBody};
use super::problem::Problem;
use crate::payments::PaymentError;

/// The route of the webhook.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_stripe_webhook))
}

/// An event of Stripe's, as Stripe documents it; fields that are not used here are ignored.
#[derive(ToSchema)]
#[schema(as = StripeEvent, example = json!({
    "id": "evt_1", "type": "checkout.session.completed", "created": 1_769_853_600,
    "data": {"object": {
        "id": "cs_1", "mode": "payment", "payment_status": "paid", "payment_intent": "pi_1",
        "amount_total": 500, "currency": "usd",
        "metadata": {"pool": "workspace:6f1c", "credits": "500"},
    }},
}))]
#[expect(dead_code, reason = "only its schema is used")]
struct StripeEvent {
    /// The event's own name.
    id: String,
    /// What happened.
    r#type: String,
    /// When, in seconds since 1970.
    created: i64,
    /// Holds the `object` that it happened to.
    #[schema(value_type = Object)]
    data: (),
}

/// The answer to an event that was taken in.
#[derive(Serialize, ToSchema)]
struct WebhookReceived {
    /// Always true.
    received: bool,
}

/// Takes an event of Stripe's
///
/// Signed in the header `Stripe-Signature` with one of the tenant's webhook secrets, at most 300
/// seconds ago; anything else is 400 `signature_invalid`. A 200 comes after what the event says is
/// booked; what is not for credits, or not paid yet, is 200 too. A 503 asks for the event again.
///
/// A paid Checkout Session whose metadata has `pool` and `credits` is credited, once a payment.
/// What cannot be credited becomes an exception. Refunds and disputes take credits back.
#[utoipa::path(
    post,
    path = "/v1/payments/stripe/{tenant_id}/webhook",
    tag = "payments",
    security(()),
    params(("tenant_id" = uuid::Uuid, Path), ("Stripe-Signature" = String, Header)),
    request_body = StripeEvent,
    responses((status = 200, description = "Done", body = WebhookReceived))
)]
async fn post_stripe_webhook(
    State(app): State<App>,
    PathTenant(tenant): PathTenant,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    // A tenant that is not there is told apart from a wrong secret by nobody.
    let tenant = tenant.ok_or(PaymentError::Signature)?;
    let signature = headers.get("stripe-signature");
    let signature = signature.and_then(|signature| signature.to_str().ok());
    app.payments.receive(tenant, signature, &body).await?;
    Ok(answer::ok(&WebhookReceived { received: true }))
}
