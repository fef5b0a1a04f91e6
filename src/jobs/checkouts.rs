//! Gives back what abandoned checkouts have taken of promo codes, and lets them expire.
//!
//! What is done with each is [`payments`](crate::payments)'.

use std::time::Duration;

use tokio::sync::watch;

use crate::payments::Payments;

/// The pause between two looks.
const INTERVAL: Duration = Duration::from_secs(30);

/// Looks every so often until `stop` is true.
pub async fn run(payments: Payments, mut stop: watch::Receiver<bool>) {
    loop {
        let looking = async {
            if let Err(error) = payments.look_at_checkouts().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "checkouts could not be looked at"
                );
            }
            tokio::time::sleep(INTERVAL).await;
        };
        // Dropped in the middle of a step, a checkout is looked at again.
        tokio::select! {
            () = looking => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}
