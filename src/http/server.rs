//! Listening: accept connections and end them in good order.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::ServiceExt;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{App, service};

/// How long requests under way may take once no more are accepted.
const FINISH: Duration = Duration::from_secs(6);

/// Serves until `stop` is done, then accepts nothing more and lets requests under way finish.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    app: App,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // Answers are small and complete: waiting for more to send would only delay them.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "TCP_NODELAY is not set"
            );
        }
    });
    let (stopping, stopped) = oneshot::channel::<()>();
    let service = service(app).into_make_service();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        stop.await;
        let _ = stopping.send(());
    });
    let too_long = async {
        let _ = stopped.await;
        tokio::time::sleep(FINISH).await;
    };
    tokio::select! {
        result = server => result,
        () = too_long => {
            tracing::warn!("requests under way were cut off: they took too long to finish");
            Ok(())
        }
    }
}
