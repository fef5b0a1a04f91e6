//! What happens around every request: its id, its span, its figures, the body of its problem.
//!
//! One service around the router does all of it, because every request pays for each; as a layer of
//! the router it would be copied for every request. Requests are not logged when all went well;
//! what failed on our side is, once, here, with its cause and the request's id.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderName, Method};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use metrics::{Counter, Histogram};
use tower_service::Service;
use tracing::Instrument;

use super::codes;
use super::problem::Problem;
use crate::telemetry::{HTTP_REQUEST_SECONDS, HTTP_REQUESTS, REFUSALS};

/// The header with a request's id. Handlers find it in every request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a client.
const MAX_REQUEST_ID_CHARS: usize = 128;

/// The router with what happens around its requests.
#[derive(Clone)]
pub struct Around {
    router: Router,
    /// Routes by path: what figures are kept by.
    routes: Arc<matchit::Router<String>>,
}

impl Around {
    /// Keeps figures by these routes; what is none of them counts as `unmatched`.
    ///
    /// # Panics
    /// When two routes are for the same paths: the router would have refused them first.
    pub fn new(router: Router, routes: impl IntoIterator<Item = String>) -> Self {
        let mut by_path = matchit::Router::new();
        for route in routes {
            let added = by_path.insert(route.clone(), route);
            added.expect("routes differ");
        }
        Self {
            router,
            routes: Arc::new(by_path),
        }
    }

    /// Answers a request.
    pub async fn answer(mut self, mut request: Request) -> Response {
        let started = Instant::now();
        let id = identify(&mut request);
        let method = method_label(request.method());
        let path = request.uri().path();
        let route = self.routes.at(path).map(|found| found.value.as_str());
        let route = route.unwrap_or("unmatched");
        let tooljet = path.starts_with("/api/ai/");
        let id_text = id.to_str().unwrap_or_default();
        // At the default level the span costs nothing: failures are logged below with the id.
        let span = tracing::debug_span!("request", request_id = id_text, method, route);

        let answer = AssertUnwindSafe(self.router.call(request))
            .catch_unwind()
            .instrument(span)
            .await;
        let answer = answer.map(|Ok(response)| response);
        let mut response = answer.unwrap_or_else(|panic| Panic::new(&*panic).into_response());
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            log_failure(&problem, id_text, method, route);
            count_refusal(&problem);
            write_problem(&mut response, &problem, id_text, tooljet);
        }
        response.headers_mut().insert(REQUEST_ID, id.clone());
        if tooljet {
            // A stale balance is a wrong one, and so is a stale refusal.
            let no_store = HeaderValue::from_static("no-store");
            response.headers_mut().insert(CACHE_CONTROL, no_store);
        }
        count(method, route, response.status().as_u16(), started);
        response
    }
}

/// The id of the request, the client's where it is fit to be one; made and put in its headers
/// otherwise.
fn identify(request: &mut Request) -> HeaderValue {
    let fit = |id: &&HeaderValue| {
        let printable = id.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
        printable && (1..=MAX_REQUEST_ID_CHARS).contains(&id.len())
    };
    if let Some(given) = request.headers().get(REQUEST_ID).filter(fit) {
        return given.clone();
    }
    let made = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = HeaderValue::from_str(made.hyphenated().encode_lower(&mut text))
        .expect("a UUID is a good header value");
    request.headers_mut().insert(REQUEST_ID, id.clone());
    id
}

/// Labels are bounded: a client can make up methods.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

fn write_problem(response: &mut Response, problem: &Problem, id: &str, tooljet: bool) {
    let body = if tooljet {
        problem.tooljet_body(id)
    } else {
        problem.body(id)
    };
    let json = serde_json::to_vec(&body).expect("a problem is plain values");
    let headers = response.headers_mut();
    // The empty body's length was noted on the way here; axum notes the new one further out.
    headers.remove(CONTENT_LENGTH);
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    *response.body_mut() = Body::from(json);
}

/// What was caught when a handler panicked.
#[derive(Debug, thiserror::Error)]
#[error("a handler panicked: {0}")]
struct Panic(String);

impl Panic {
    fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self(text.unwrap_or_else(|| "without a message".to_owned()))
    }

    fn into_response(self) -> Response {
        Problem::internal(self).into_response()
    }
}

fn log_failure(problem: &Problem, request_id: &str, method: &str, route: &str) {
    if !problem.status().is_server_error() {
        return;
    }
    let code = problem.row().code;
    let cause = problem.cause().map(chain).unwrap_or_default();
    if problem.row() == codes::INTERNAL_ERROR {
        tracing::error!(request_id, method, route, code, cause, "request failed");
    } else {
        tracing::warn!(
            request_id,
            method,
            route,
            code,
            cause,
            "request could not be served"
        );
    }
}

fn chain(error: &(dyn Error + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn count_refusal(problem: &Problem) {
    if problem.status().is_client_error() {
        metrics::counter!(REFUSALS, "code" => problem.row().code).increment(1);
    }
}

/// The figures of one route. The recorder is asked for each once a thread, not once a request.
struct Figures {
    seconds: Histogram,
    requests: Vec<(&'static str, u16, Counter)>,
}

thread_local! {
    static FIGURES: RefCell<HashMap<String, Figures>> = RefCell::default();
}

fn count(method: &'static str, route: &str, status: u16, started: Instant) {
    FIGURES.with_borrow_mut(|all| {
        if let Some(figures) = all.get_mut(route) {
            figures.count(method, route, status, started);
        } else {
            let seconds = metrics::histogram!(HTTP_REQUEST_SECONDS, "route" => route.to_owned());
            let mut figures = Figures {
                seconds,
                requests: Vec::new(),
            };
            figures.count(method, route, status, started);
            all.insert(route.to_owned(), figures);
        }
    });
}

impl Figures {
    fn count(&mut self, method: &'static str, route: &str, status: u16, started: Instant) {
        self.seconds.record(started.elapsed());
        let known = |row: &&(&'static str, u16, Counter)| (row.0, row.1) == (method, status);
        if let Some((_, _, counter)) = self.requests.iter().find(known) {
            counter.increment(1);
            return;
        }
        let counter = metrics::counter!(HTTP_REQUESTS, "method" => method,
            "route" => route.to_owned(), "status" => status.to_string());
        counter.increment(1);
        self.requests.push((method, status, counter));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::http::server::listen;

    fn request(id: Option<&[u8]>) -> Request {
        let mut request = Request::new(Body::empty());
        if let Some(id) = id {
            let id = HeaderValue::from_bytes(id).expect("a header value");
            request.headers_mut().insert(REQUEST_ID, id);
        }
        request
    }

    #[test]
    fn a_clients_own_request_id_is_taken_when_it_is_fit() {
        let long = [b'x'; 129];
        assert_eq!(identify(&mut request(Some(b"job 7/a"))), "job 7/a");
        assert_eq!(identify(&mut request(Some(&long[..128]))).len(), 128);
        let unfit: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"\xc3\xbc"), Some(&long)];
        for unfit in unfit {
            let mut request = request(unfit);
            let made = identify(&mut request);
            assert_eq!(made.len(), 36, "{unfit:?}");
            assert_eq!(request.headers().get(REQUEST_ID), Some(&made));
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_and_the_next_request_is_served() {
        async fn panics() -> &'static str {
            panic!("pool 7")
        }
        let routes = axum::Router::new().route("/panics", axum::routing::get(panics));
        let service = Around::new(routes, ["/panics".to_owned()]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!(
            "http://{}/panics",
            listener.local_addr().expect("an address")
        );
        tokio::spawn(async move { listen(listener, &service, pending()).await });
        let _ = rustls::crypto::ring::default_provider().install_default();
        for _ in 0..2 {
            let reply = reqwest::get(&url).await.expect("an answer");
            assert_eq!(reply.status(), 500);
            let body: serde_json::Value = reply.json().await.expect("a problem");
            assert_eq!(body["code"], "internal_error");
            assert!(!body.to_string().contains("pool 7"), "{body}");
        }
    }

    #[test]
    fn a_panics_message_reaches_the_log() {
        let caught = std::panic::catch_unwind(|| std::panic::panic_any("pool 7")).expect_err("");
        assert_eq!(
            Panic::new(&*caught).to_string(),
            "a handler panicked: pool 7"
        );
    }
}
