//! Answers with a JSON body, and how credits look in the document.
//!
//! Which status a refusal has is not decided here: see [`problem`](super::problem).

use std::borrow::Cow;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::codes;
use super::problem::Problem;

/// Marks the answer of an earlier request with the same key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What most answers fit in: one allocation instead of growing step by step.
const USUAL_BYTES: usize = 1024;

/// Credits in an answer, for the document: the values are the ledger's own.
#[derive(Debug)]
pub struct Number;

impl PartialSchema for Number {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("Credits, an exact decimal with at most two places."))
            .into()
    }
}

impl ToSchema for Number {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Credits")
    }
}

/// 200 with a body.
#[must_use]
pub fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

/// What a command booked, now or when its key was first used.
#[must_use]
pub fn booked(status: StatusCode, body: &impl Serialize, replayed: bool) -> Response {
    let mut response = json(status, body);
    if replayed {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// 200 with a body that is JSON text already.
#[must_use]
pub fn ready(json: Bytes) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, content_type)], json).into_response()
}

/// A status with a body.
#[must_use]
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    (status, ready(to_json(body))).into_response()
}

/// The JSON text of a body.
#[must_use]
pub fn to_json(body: &impl Serialize) -> Bytes {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut bytes, body).expect("our own bodies have a JSON text");
    bytes.into()
}

/// What a lane or the journal gave is not what was asked for: we are wrong.
#[must_use]
pub fn unexpected(what: &'static str) -> Problem {
    tracing::error!("{what} is not what the command books");
    Problem::plain(codes::INTERNAL_ERROR)
}
