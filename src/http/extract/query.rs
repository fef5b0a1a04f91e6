//! Query strings, strictly: an unknown or repeated parameter, or a bad value, is a 422.

use std::error::Error;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::de::value::Error as ValueError;

use crate::http::extract::violations::field_error;
use crate::http::problem::Problem;

/// The query string, parsed. `T` should deny unknown fields.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| explain(&rejection))
    }
}

/// Finds the parser's own error, which knows the parameter, under axum's wrappers.
fn explain(rejection: &(dyn Error + 'static)) -> Problem {
    let mut cause = Some(rejection);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<serde_path_to_error::Error<ValueError>>() {
            let (path, said) = (error.path().to_string(), error.inner().to_string());
            return Problem::validation(vec![field_error(&path, &said)]);
        }
        cause = error.source();
    }
    Problem::validation(vec![field_error("query", &rejection.to_string())])
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;
    use crate::http::time::Stamp;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        limit: Option<u32>,
        at: Option<Stamp>,
        user_id: Option<crate::ledger::Label>,
        overdraft: Option<bool>,
    }

    async fn read(query: &str) -> Result<Sample, serde_json::Value> {
        let uri = format!("/x?{query}");
        let (mut parts, ()) = Request::builder()
            .uri(uri)
            .body(())
            .expect("a URI")
            .into_parts();
        match Query::from_request_parts(&mut parts, &()).await {
            Ok(Query(sample)) => Ok(sample),
            Err(problem) => Err(serde_json::to_value(problem.body("r")).expect("a body")),
        }
    }

    #[tokio::test]
    async fn good_parameters_are_decoded() {
        let sample = read("limit=5&user_id=a%20%26b&at=2026-01-31T10:00:00%2B01:00&overdraft=true")
            .await
            .expect("a good query");
        assert_eq!(sample.limit, Some(5));
        assert_eq!(sample.user_id.expect("a user").as_str(), "a &b");
        assert_eq!(
            sample.at.expect("a time").to_string(),
            "2026-01-31T09:00:00.000Z"
        );
        assert_eq!(sample.overdraft, Some(true));
        assert!(read("").await.is_ok());
    }

    #[tokio::test]
    async fn a_bad_parameter_is_named() {
        let rows = [
            ("limit=x", "limit"),
            ("limit=-1", "limit"),
            ("limit=1&limit=2", "limit"),
            ("size=2", "size"),
            ("at=yesterday", "at"),
            ("user_id=%00", "user_id"),
            ("overdraft=maybe", "overdraft"),
        ];
        for (query, field) in rows {
            let body = read(query).await.expect_err(query);
            assert_eq!(body["errors"][0]["field"], field, "{query}: {body}");
            assert_eq!(body["status"], 422);
        }
    }
}
