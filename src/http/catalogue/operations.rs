//! The rate card: what operations cost, on average or exactly.

use std::ops::Bound;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{no_catalogue, too_many};
use crate::http::App;
use crate::http::answer::{self, Number};
use crate::http::auth::{Allowed, scope};
use crate::http::extract::{Amount, Body, PathCode, Query, Violations};
use crate::http::page::{Page, PageQuery};
use crate::http::problem::Problem;
use crate::ledger::{Catalogue, Code, Credits, Label, Operation};
use crate::store::CatalogueChange;

/// The most operations of a tenant.
const MOST_OPERATIONS: usize = 1_000;

/// The routes of operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_operations))
        .routes(routes!(put_operation))
}

/// An operation as it is to be.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutOperation, example = json!({"name": "App generation", "estimate": 100}))]
pub(super) struct OperationRequest {
    /// The name people see: 1 to 128 printable characters.
    #[schema(value_type = String)]
    name: Option<String>,
    /// What it costs on average; never refuses anything.
    #[schema(value_type = Amount)]
    estimate: Option<Amount>,
    /// Its price, where it has one; none when left out.
    fixed: Option<Amount>,
    /// Its price on plans with legacy prices; none when left out.
    legacy_fixed: Option<Amount>,
}

/// A line of the rate card.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Operation)]
struct OperationBody {
    code: String,
    name: String,
    #[schema(value_type = Number)]
    estimate: Credits,
    #[schema(value_type = Option<Number>)]
    fixed: Option<Credits>,
    #[schema(value_type = Option<Number>)]
    legacy_fixed: Option<Credits>,
}

impl OperationBody {
    fn of(code: &Code, operation: &Operation) -> Self {
        Self {
            code: code.as_str().to_owned(),
            name: operation.name.clone(),
            estimate: operation.estimate,
            fixed: operation.fixed,
            legacy_fixed: operation.legacy_fixed,
        }
    }
}

impl OperationRequest {
    /// The same with the name and the estimate of a known one, where it has none.
    pub(super) fn or_as(self, known: Option<&Operation>) -> Self {
        Self {
            name: self.name.or_else(|| known.map(|known| known.name.clone())),
            estimate: self.estimate.or_else(|| known.map(|it| it.estimate.into())),
            ..self
        }
    }

    pub(super) fn read(self) -> Result<Operation, Problem> {
        let mut violations = Violations::new();
        let name = violations.require("name", self.name.map(Label::try_from));
        let estimate = violations.require("estimate", self.estimate.map(Amount::requested));
        let fixed = violations.take("fixed", self.fixed.map(Amount::requested));
        let legacy = self.legacy_fixed.map(Amount::requested);
        let legacy_fixed = violations.take("legacy_fixed", legacy);
        let (name, estimate) = violations.finish_with(name.zip(estimate))?;
        Ok(Operation {
            name: name.as_str().to_owned(),
            estimate,
            fixed,
            legacy_fixed,
        })
    }
}

/// What a PUT changes, and whether the operation is new.
fn decide(
    code: Code,
    operation: Operation,
    sold: &Catalogue,
) -> Result<(CatalogueChange, bool), Problem> {
    let known = sold.operations.get(&code);
    if known == Some(&operation) {
        return Ok((CatalogueChange::None, false));
    }
    if known.is_none() && sold.operations.len() >= MOST_OPERATIONS {
        return Err(too_many("operations", MOST_OPERATIONS));
    }
    let operation = Box::new(operation);
    Ok((
        CatalogueChange::Operation { code, operation },
        known.is_none(),
    ))
}

/// Lists the rate card
///
/// By code.
#[utoipa::path(
    get,
    path = "/v1/operations",
    tag = "catalogue",
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<OperationBody>))
)]
async fn get_operations(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let page = query.read::<Code>()?;
    let sold = app.store.catalogue(caller.tenant, None).await?;
    let (_, sold) = sold.ok_or_else(no_catalogue)?;
    let after = page.after.map_or(Bound::Unbounded, Bound::Excluded);
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let rows = sold.operations.range((after, Bound::Unbounded));
    let rows = rows
        .take(limit + 1)
        .map(|(code, operation)| OperationBody::of(code, operation));
    let page = Page::of(
        page.limit,
        rows.collect(),
        |row| row.code.clone(),
        |row| row,
    );
    Ok(answer::ok(&page))
}

/// Makes or changes an operation
///
/// It then is what the body says; prices that are left out are no more. Debits that are booked
/// already keep their price.
#[utoipa::path(
    put,
    path = "/v1/operations/{code}",
    tag = "catalogue",
    params(("code" = String, Path, description = "1 to 64 of `a-z 0-9 _ - .`")),
    request_body = OperationRequest,
    responses(
        (status = 200, description = "Changed, or as it was", body = OperationBody),
        (status = 201, description = "Made", body = OperationBody)
    )
)]
async fn put_operation(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::CatalogWrite>,
    PathCode(code): PathCode,
    Body(body): Body<OperationRequest>,
) -> Result<Response, Problem> {
    let operation = body.read()?;
    let shown = OperationBody::of(&code, &operation);
    let decide = move |_, sold: &Catalogue| decide(code, operation, sold);
    let changed = app.store.change_catalogue(caller.tenant, decide).await?;
    let created = changed.ok_or_else(no_catalogue)??;
    Ok(answer::json(
        if created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        },
        &shown,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse_json;

    fn read(json: &str) -> Result<Operation, serde_json::Value> {
        let request = parse_json::<OperationRequest>(json.as_bytes());
        let result = request.and_then(OperationRequest::read);
        result.map_err(|problem| serde_json::to_value(problem.body("r")).expect("a body"))
    }

    #[test]
    fn prices_are_above_zero_and_may_be_absent() {
        let operation = read(r#"{"name":"A","estimate":5,"fixed":0.5}"#).expect("good");
        assert_eq!(operation.fixed.map(Credits::units), Some(50));
        assert_eq!(operation.legacy_fixed, None);
        let body = read(r#"{"estimate":0,"fixed":-1,"legacy_fixed":0.001}"#).expect_err("bad");
        let fields: Vec<_> = (0..4).map(|n| body["errors"][n]["field"].clone()).collect();
        assert_eq!(fields, ["name", "estimate", "fixed", "legacy_fixed"]);
    }

    #[test]
    fn a_repeated_put_changes_nothing() {
        let sold = Catalogue::initial("2026-01-01T00:00:00Z".parse().expect("a time"));
        let code = |text: &str| text.parse::<Code>().expect("a code");
        let known = sold.operations[&code("custom_code")].clone();
        let repeated = decide(code("custom_code"), known.clone(), &sold);
        assert!(matches!(repeated, Ok((CatalogueChange::None, false))));
        let cheaper = Operation {
            estimate: Credits::whole(1),
            ..known
        };
        let changed = decide(code("custom_code"), cheaper.clone(), &sold);
        assert!(matches!(
            changed,
            Ok((CatalogueChange::Operation { .. }, false))
        ));
        let made = decide(code("new"), cheaper, &sold);
        assert!(matches!(
            made,
            Ok((CatalogueChange::Operation { .. }, true))
        ));
    }
}
