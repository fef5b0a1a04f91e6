//! The OpenAPI document and the page that shows it.
//!
//! Paths and shapes come from the handlers. What holds for all of them is added here: how to
//! authenticate, and every error code with its status and members, from the table in [`codes`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Content, HeaderBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema, Path, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::codes::{self, ErrorCode};
use super::problem::{FieldError, Problem};

/// Where the document is.
const DOCUMENT: &str = "/openapi.json";

/// What the document says of all routes.
const DESCRIPTION: &str = include_str!("openapi.md");

/// A problem, as the document shows it: every code with its members.
pub struct ProblemSchema;

impl PartialSchema for ProblemSchema {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let all = codes::ALL.iter().map(|row| row.code);
        let mut object = ObjectBuilder::new()
            .property(
                "type",
                text().format(Some(SchemaFormat::Custom("uri".to_owned()))),
            )
            .property(
                "title",
                text().description(Some("The same for every problem of a code.")),
            )
            .property("status", ObjectBuilder::new().schema_type(Type::Integer))
            .property(
                "detail",
                text().description(Some("What happened this time.")),
            )
            .property("code", text().enum_values(Some(all)))
            .property(
                "request_id",
                text().description(Some("Finds the request in the log.")),
            )
            .property("errors", ArrayBuilder::new().items(FieldError::schema()));
        for name in ["type", "title", "status", "detail", "code", "request_id"] {
            object = object.required(name);
        }
        for (name, description) in members() {
            let member =
                ObjectBuilder::new().schema_type(utoipa::openapi::schema::SchemaType::AnyValue);
            object = object.property(name, member.description(Some(description)));
        }
        object
            .description(Some(
                "RFC 9457; on /api/ai/ with `message` and `statusCode` too.",
            ))
            .into()
    }
}

impl ToSchema for ProblemSchema {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Problem")
    }
}

/// The extra members by name, each with the codes that have it.
fn members() -> BTreeMap<&'static str, String> {
    let mut members: BTreeMap<&'static str, String> = BTreeMap::new();
    let rows = codes::ALL
        .iter()
        .flat_map(|row| row.members.iter().map(|it| (row.code, it)));
    for (code, member) in rows.filter(|(_, member)| member.name != "errors") {
        let text = members.entry(member.name).or_default();
        let space = if text.is_empty() { "" } else { " " };
        let _never_fails = write!(text, "{space}With `{code}`: {}", member.description);
    }
    members
}

/// The table of codes in Markdown.
fn table() -> String {
    let mut table = "| status | code | meaning | members |\n|---|---|---|---|\n".to_owned();
    let mut rows: Vec<&ErrorCode> = codes::ALL.to_vec();
    rows.sort_by_key(|row| (row.status, row.code));
    for ErrorCode {
        code,
        status,
        title,
        members,
    } in rows
    {
        let members: Vec<String> = members.iter().map(|it| format!("`{}`", it.name)).collect();
        let (status, members) = (status.as_u16(), members.join(", "));
        let _never_fails = writeln!(table, "| {status} | `{code}` | {title} | {members} |");
    }
    table
}

/// The document: what the handlers say, and what holds for all of them.
#[must_use]
pub fn complete(mut api: OpenApi) -> OpenApi {
    api.info.title = "credit-ledger".to_owned();
    api.info.version = env!("CARGO_PKG_VERSION").to_owned();
    api.info.description = Some(DESCRIPTION.replace("{codes}", &table()));
    let components = api.components.get_or_insert_default();
    components
        .schemas
        .insert(ProblemSchema::name().into_owned(), ProblemSchema::schema());
    let problem = Ref::from_schema_name(ProblemSchema::name());
    let problem = ResponseBuilder::new()
        .description("A problem: `code` says which.")
        .content("application/problem+json", Content::new(Some(problem)))
        .build();
    components
        .responses
        .insert("Problem".to_owned(), problem.into());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let header = ApiKey::Header(ApiKeyValue::new("X-Api-Key"));
    components.add_security_scheme("api_key", SecurityScheme::ApiKey(header));
    let none = Vec::<String>::new;
    api.security = Some(vec![
        SecurityRequirement::new("bearer", none()),
        SecurityRequirement::new("api_key", none()),
    ]);
    // Not among the routes that the document is made of, but served beside them.
    let own = [
        (
            DOCUMENT,
            __path_get_document::methods(),
            __path_get_document::operation(),
        ),
        (
            "/docs",
            __path_get_docs::methods(),
            __path_get_docs::operation(),
        ),
    ];
    for (path, methods, mut operation) in own {
        operation.tags = Some(vec!["service".to_owned()]);
        api.paths.add_path_operation(path, methods, operation);
    }
    for item in api.paths.paths.values_mut() {
        operations(item).for_each(add_common);
    }
    api
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let all = [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ];
    all.into_iter().flatten()
}

/// Any answer that an operation does not list itself is a problem; one that takes a key says when
/// it is a replay.
fn add_common(operation: &mut Operation) {
    let parameters = operation.parameters.iter().flatten();
    let has_key = parameters.into_iter().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.name == "Idempotency-Key",
        RefOr::Ref(_) => false,
    });
    let responses = &mut operation.responses.responses;
    // What makes nothing new is answered with 200.
    let status = ["201", "200"]
        .into_iter()
        .find(|it| responses.contains_key(*it));
    let booked = status.and_then(|status| responses.get_mut(status));
    if let (true, Some(RefOr::T(booked))) = (has_key, booked) {
        let header = HeaderBuilder::new().description(Some(
            "`true` when an earlier request with the same key was answered so.",
        ));
        booked
            .headers
            .insert("Idempotency-Replayed".to_owned(), header.build().into());
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.content.values_mut().for_each(drop_null);
    }
    let problem = RefOr::Ref(Ref::from_response_name("Problem"));
    responses.entry("default".to_owned()).or_insert(problem);
}

/// A body that may be left out may not be `null` instead.
fn drop_null(content: &mut RefOr<Content>) {
    if let RefOr::T(content) = content
        && let Some(RefOr::T(Schema::OneOf(options))) = &mut content.schema
    {
        let shape = options.items.swap_remove(0);
        content.schema = Some(shape);
    }
}

/// The document, ready to be sent.
#[derive(Clone)]
struct Document(Bytes);

/// Gives this document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
async fn get_document(Extension(Document(json)): Extension<Document>) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, content_type)], json).into_response()
}

/// Serves the document, and a page that shows it without anything from elsewhere.
///
/// # Panics
/// The document has no JSON text.
pub fn router<S: Clone + Send + Sync + 'static>(api: &OpenApi) -> Router<S> {
    let json = serde_json::to_vec(api).expect("the document is plain values");
    let document = Extension(Document(json.into()));
    // The validator would be asked for a badge over the internet.
    let config = Config::from(DOCUMENT)
        .validator_url("none")
        .default_models_expand_depth(0);
    let index = Index::of(&config);
    let page = Router::from(SwaggerUi::new("/docs/page").config(config));
    Router::new()
        .route(DOCUMENT, get(get_document).layer(document))
        .route("/docs", get(get_docs).layer(Extension(index)))
        .merge(page.layer(map_response(as_problem)))
}

/// The page itself, served at `/docs` without a redirect; its parts lie below `/docs/page/`.
#[derive(Clone)]
struct Index(Bytes);

impl Index {
    fn of(config: &Config<'static>) -> Self {
        let file = utoipa_swagger_ui::serve("index.html", Arc::new(config.clone()));
        let file = file
            .ok()
            .flatten()
            .expect("the page is part of this program");
        let html = String::from_utf8_lossy(&file.bytes);
        Self(
            html.replacen("<head>", "<head><base href=\"/docs/page/\">", 1)
                .into(),
        )
    }
}

/// Shows this document as a page
///
/// Works without the internet.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "service",
    security(()),
    responses((status = 200, description = "HTML", content_type = "text/html", body = String))
)]
async fn get_docs(Extension(Index(html)): Extension<Index>) -> Response {
    let content_type = HeaderValue::from_static("text/html; charset=utf-8");
    ([(CONTENT_TYPE, content_type)], html).into_response()
}

/// The page's own 404s are plain text.
async fn as_problem(response: Response) -> Response {
    if response.status().is_client_error() {
        Problem::not_found("path").into_response()
    } else {
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> serde_json::Value {
        let (_, api) = super::super::routes().split_for_parts();
        serde_json::to_value(complete(api)).expect("a document")
    }

    #[test]
    fn every_code_is_listed_with_its_status_and_members() {
        let document = document();
        let text = document["info"]["description"]
            .as_str()
            .expect("a description");
        let schema = &document["components"]["schemas"]["Problem"];
        let listed = schema["properties"]["code"]["enum"]
            .as_array()
            .expect("the codes");
        assert_eq!(document["openapi"], "3.1.0");
        for row in codes::ALL {
            let start = format!("| {} | `{}` |", row.status.as_u16(), row.code);
            assert!(text.contains(&start), "{start}");
            assert!(listed.iter().any(|code| code == row.code), "{}", row.code);
            for member in row.members {
                assert!(
                    schema["properties"].get(member.name).is_some(),
                    "{}",
                    member.name
                );
            }
        }
    }

    #[test]
    fn every_operation_has_an_id_of_its_own_a_summary_a_tag_and_a_problem() {
        let document = document();
        let mut ids = std::collections::HashSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                let id = operation["operationId"].as_str().expect("an id").to_owned();
                assert!(ids.insert(id), "{method} {path}: the id is there twice");
                assert!(
                    operation["summary"].is_string(),
                    "{method} {path}: no summary"
                );
                assert!(operation["tags"].is_array(), "{method} {path}: no tag");
                assert!(
                    operation["responses"]["default"].is_object(),
                    "{method} {path}"
                );
            }
        }
        assert!(!ids.is_empty());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(root: &serde_json::Value, value: &serde_json::Value) {
            match value {
                serde_json::Value::Object(members) => {
                    if let Some(target) = members.get("$ref").and_then(|it| it.as_str()) {
                        let pointer = target.trim_start_matches('#');
                        assert!(root.pointer(pointer).is_some(), "{target} is nowhere");
                    }
                    members.values().for_each(|member| check(root, member));
                }
                serde_json::Value::Array(items) => items.iter().for_each(|it| check(root, it)),
                serde_json::Value::Null
                | serde_json::Value::Bool(_)
                | serde_json::Value::Number(_)
                | serde_json::Value::String(_) => {}
            }
        }
        let document = document();
        check(&document, &document);
    }
}
