//! JSON bodies: content type, size, syntax, shape. What is wrong with the shape names the field.
//!
//! Rules about values are not checked here: see [`Violations`](super::Violations).

use std::error::Error;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::http::codes;
use crate::http::extract::Object;
use crate::http::extract::violations::field_error;
use crate::http::problem::Problem;

/// The most bytes a body may have.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How much of a body that is too large is read and dropped. A client that still sends when the
/// connection closes may never see the answer.
const MAX_DROPPED_BYTES: usize = 16 * MAX_BODY_BYTES;

/// How long a client may take to send a body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body, parsed. `T` should deny unknown fields.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

/// A body as it came: for what is signed byte by byte.
#[derive(Clone, Debug)]
pub struct RawBody(pub Bytes);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::plain(codes::UNSUPPORTED_MEDIA_TYPE));
        }
        let bytes = read_in_time(request.into_body()).await?;
        parse_json(&bytes).map(Self)
    }
}

/// A JSON body that may be left out: no body is as good as `{}`.
#[derive(Clone, Copy, Debug)]
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = read_in_time(request.into_body()).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if !is_json {
            return Err(Problem::plain(codes::UNSUPPORTED_MEDIA_TYPE));
        }
        parse_json(&bytes).map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_in_time(request.into_body()).await.map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(text)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else {
        return false;
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    let suffix = essence.len().saturating_sub("+json".len());
    essence.eq_ignore_ascii_case("application/json")
        || essence
            .get(suffix..)
            .is_some_and(|end| end.eq_ignore_ascii_case("+json"))
}

async fn read_in_time(body: axum::body::Body) -> Result<Bytes, Problem> {
    tokio::time::timeout(READ_TIMEOUT, read(body))
        .await
        .map_err(|_| Problem::plain(codes::REQUEST_TIMEOUT))?
}

async fn read(mut body: axum::body::Body) -> Result<Bytes, Problem> {
    let error = match Limited::new(&mut body, MAX_BODY_BYTES).collect().await {
        Ok(collected) => return Ok(collected.to_bytes()),
        Err(error) => error,
    };
    if error.downcast_ref::<LengthLimitError>().is_none() {
        return Err(Problem::new(
            codes::MALFORMED_JSON,
            "the body did not arrive whole",
        ));
    }
    let mut dropped = 0;
    while let Some(Ok(frame)) = body.frame().await {
        dropped += frame.data_ref().map_or(0, Bytes::len);
        if dropped > MAX_DROPPED_BYTES {
            break;
        }
    }
    Err(Problem::plain(codes::PAYLOAD_TOO_LARGE).with("maximum_bytes", MAX_BODY_BYTES))
}

/// Parses a JSON object into a shape.
///
/// # Errors
/// 400 `malformed_json` for what is not JSON, nested too deeply or not UTF-8; 422
/// `validation_failed` naming the first field of a wrong type, unknown or there twice.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Paths are tracked only once it is known that something is wrong.
    let parsed = serde_json::from_slice(bytes).map(|Object(shape)| shape);
    parsed.map_err(|error| explain::<T>(bytes, &error))
}

fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Problem {
    let malformed = |why: &dyn Error| Problem::new(codes::MALFORMED_JSON, why.to_string());
    if let Err(not_text) = std::str::from_utf8(bytes) {
        return malformed(&not_text);
    }
    // A wrong type may come before a wrong character; the character counts.
    if let Err(not_json) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return malformed(&not_json);
    }
    // It is JSON, so what is wrong is its shape, unless it is too deep to be read at all.
    if error.to_string().starts_with("recursion limit exceeded") {
        return malformed(error);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, Object<T>>(&mut deserializer) {
        Err(error) => {
            let path = error.path().to_string();
            Problem::validation(vec![field_error(&path, &error.into_inner().to_string())])
        }
        Ok(_) => malformed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::{Amount, MetadataBody};

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(default)]
        credits: Option<Amount>,
        #[serde(default)]
        metadata: Option<MetadataBody>,
        #[serde(default)]
        inner: Option<Object<Inner>>,
        #[serde(default)]
        count: Option<u8>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        name: String,
    }

    fn refused(bytes: &[u8]) -> serde_json::Value {
        let problem = parse_json::<Sample>(bytes).expect_err("a problem");
        serde_json::to_value(problem.body("r")).expect("a body")
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        let deep = format!(
            "{{\"metadata\":{}{}}}",
            "{\"a\":".repeat(5000),
            "}".repeat(5000)
        );
        let rows: [&[u8]; 9] = [
            b"",
            b"{",
            b"{\"credits\":NaN}",
            b"{\"credits\":01}",
            b"{} {}",
            b"{\"metadata\":{\"a\":\"\xff\"}}",
            b"{\"credits\":\"x\", oops}",
            b"{'credits':1}",
            deep.as_bytes(),
        ];
        for bytes in rows {
            let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
            assert_eq!(refused(bytes)["code"], "malformed_json", "{start}");
        }
    }

    #[test]
    fn what_has_the_wrong_shape_names_the_field() {
        let rows = [
            ("[]", "body"),
            ("7", "body"),
            (r#"{"credits":"7"}"#, "credits"),
            (r#"{"credits":{}}"#, "credits"),
            (r#"{"credits":true}"#, "credits"),
            (r#"{"credits":1,"credits":1}"#, "credits"),
            (r#"{"credit":1}"#, "credit"),
            (r#"{"count":256}"#, "count"),
            (r#"{"count":1e999}"#, "count"),
            (r#"{"inner":["a"]}"#, "inner"),
            (r#"{"inner":{}}"#, "inner.name"),
            (r#"{"inner":{"name":1}}"#, "inner.name"),
            (r#"{"inner":{"name":"a","name":"b"}}"#, "inner.name"),
            (r#"{"inner":{"name":"a","size":"b"}}"#, "inner.size"),
            (r#"{"metadata":[]}"#, "metadata"),
            (r#"{"metadata":{"a":1,"a":1}}"#, "metadata.a"),
            (r#"{"metadata":{"a":[{"b":1,"b":2}]}}"#, "metadata.a[0].b"),
            (r#"{"metadata":{"a":1e999}}"#, "metadata.a"),
        ];
        for (text, field) in rows {
            let body = refused(text.as_bytes());
            assert_eq!(body["code"], "validation_failed", "{text}");
            assert_eq!(body["errors"][0]["field"], field, "{text}");
        }
    }

    #[test]
    fn a_name_of_ten_thousand_characters_is_not_said_back() {
        let body = refused(format!(r#"{{"{}":1}}"#, "x".repeat(10_000)).as_bytes());
        assert!(body.to_string().len() < 2_000, "{body}");
    }

    #[test]
    fn nulls_and_absent_fields_are_the_same() {
        let sample: Sample =
            parse_json(br#"{"credits":null,"metadata":null}"#).expect("a good body");
        assert!(sample.credits.is_none() && sample.metadata.is_none());
        assert!(
            sample
                .inner
                .is_none_or(|Object(inner)| inner.name.is_empty())
                && sample.count.is_none()
        );
    }

    #[test]
    fn only_json_is_json() {
        let json = |text: &'static str| {
            let value = axum::http::HeaderValue::from_static(text);
            is_json(&HeaderMap::from_iter([(CONTENT_TYPE, value)]))
        };
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.api+json",
        ] {
            assert!(json(good), "{good}");
        }
        for bad in [
            "text/plain",
            "application/jsonx",
            "json",
            "",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!json(bad), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
