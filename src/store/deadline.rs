//! The time one read may take. A database that is frozen or unreachable says nothing at all, and a
//! client must be told within two seconds.

use std::time::Duration;

use super::StoreError;

const DEADLINE: Duration = Duration::from_millis(1_500);

/// How long a read may take that has much to look through.
const SCAN_DEADLINE: Duration = Duration::from_secs(20);

/// The read, or an error when it takes too long.
///
/// # Errors
/// The read's own, or its time is up.
pub(super) async fn within<T>(
    read: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(DEADLINE, read).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}

/// A read that may have much to look through: a journal, all pools. Its caller has read something
/// small before, so that an absent database is noticed in time.
///
/// # Errors
/// The read's own, or its time is up.
pub(super) async fn within_scan<T>(
    read: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(SCAN_DEADLINE, read).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}

/// A write of several statements, which goes on when the request that asked for it is dropped: a
/// request must not leave a transaction open behind it.
///
/// # Errors
/// The write's own, or its time is up; it may have happened then.
///
/// # Panics
/// The write does.
pub(super) async fn undropped<T: Send + 'static>(
    write: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let write = tokio::spawn(write);
    within(async {
        match write.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(StoreError::Unavailable(sqlx::Error::WorkerCrashed)),
            },
        }
    })
    .await
}
