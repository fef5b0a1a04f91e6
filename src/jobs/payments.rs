//! Tries again what a payment's event could not do at once: events that are still to be done, and
//! purchases that do not know their payment's state.
//!
//! The provider tries again as well; whoever comes second changes nothing. Any number of replicas
//! may do so at once.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::ledger::{Label, TenantId};
use crate::payments::{PaymentError, Payments};
use crate::store::{Store, StoreError};

/// How many events, and how many payments, are looked at in one go.
const PORTION: i64 = 200;
/// The pause between two goes.
const INTERVAL: Duration = Duration::from_secs(5);

/// Where the last go stopped: what fails again does not keep others from their turn.
#[derive(Clone, Debug, Default)]
pub struct Place(Option<(TenantId, Label)>);

/// What one go did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// Events that are done now.
    pub events: usize,
    /// Payments that were settled.
    pub payments: usize,
    /// What failed again.
    pub failed: usize,
}

/// Tries again until `stop` is true.
pub async fn run(store: Store, payments: Payments, clock: Clock, mut stop: watch::Receiver<bool>) {
    let mut place = Place::default();
    loop {
        let going = retry(&store, &payments, &clock, &mut place);
        let result = tokio::select! {
            result = going => result,
            // What is under way is done by whoever looks next.
            _ = stop.wait_for(|stopped| *stopped) => return,
        };
        if let Err(error) = result {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "payments could not be looked at again");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Tries one portion of each again.
///
/// # Errors
/// The database is away. What fails by itself is tried again by a later go.
pub async fn retry(
    store: &Store,
    payments: &Payments,
    clock: &Clock,
    place: &mut Place,
) -> Result<Retried, StoreError> {
    let mut retried = Retried::default();
    for event in store.take_pending_events(clock.now(), PORTION).await? {
        match payments.redo(&event).await {
            Ok(()) => retried.events += 1,
            Err(error) => retried.fail(&error),
        }
    }
    let unsettled = store.unsettled_payments(place.0.as_ref(), PORTION).await?;
    let is_whole_portion = i64::try_from(unsettled.len()).is_ok_and(|it| it == PORTION);
    let last = unsettled.last();
    place.0 = last.filter(|_| is_whole_portion).cloned();
    for (tenant, reference) in unsettled {
        match payments.settle(tenant, &reference).await {
            Ok(()) => retried.payments += 1,
            Err(error) => retried.fail(&error),
        }
    }
    store.close_credited_exceptions(clock.now()).await?;
    Ok(retried)
}

impl Retried {
    fn fail(&mut self, error: &PaymentError) {
        self.failed += 1;
        let error = error as &dyn std::error::Error;
        tracing::warn!(error, "a payment could not be done yet");
    }
}
