//! Listening: accept connections, serve them, end them in good order.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::middleware::Around;
use super::{App, service};

/// How long requests under way may take once no more are accepted.
const FINISH: Duration = Duration::from_secs(6);

/// Serves until `stop` is done, then accepts nothing more and lets requests under way finish.
pub async fn serve(listener: TcpListener, app: App, stop: impl Future<Output = ()>) {
    listen(listener, &service(app), stop).await;
}

/// The same for any service. Connections are served by hyper itself: what axum's own loop puts
/// around every request is not needed here, and costs each one.
pub(super) async fn listen(
    mut listener: TcpListener,
    service: &Around,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    // Answers are small: head and body are sent as one piece.
    http.writev(false);
    loop {
        let (stream, _) = tokio::select! {
            // It waits errors out.
            accepted = Listener::accept(&mut listener) => accepted,
            () = &mut stop => break,
        };
        do_not_delay(&stream);
        let service = service.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let answering = service.clone().answer(request.map(Body::new));
            async { Ok::<_, Infallible>(answering.await) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), answer);
        let serving = connections.watch(connection);
        tokio::spawn(async {
            if let Err(error) = serving.await {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if timeout(FINISH, connections.shutdown()).await.is_err() {
        tracing::warn!("requests under way were cut off: they took too long to finish");
    }
}

/// Answers are complete: waiting for more to send would only delay them.
fn do_not_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        let error = &error as &dyn std::error::Error;
        tracing::debug!(error, "TCP_NODELAY is not set");
    }
}
