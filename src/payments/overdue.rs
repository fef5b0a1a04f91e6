//! Checkouts that nobody came back for: half-made ones are given back, and those that can be paid
//! no more expire. Any number of replicas may look at once: every step is safe to repeat.

use chrono::TimeDelta;

use super::provider::SessionState;
use super::{PaymentError, Payments};
use crate::store::{CheckoutRecord, CheckoutStatus};

/// How many checkouts one look takes.
const PORTION: i64 = 100;
/// How long whoever makes or gives back a checkout may be at work.
const LEASE: TimeDelta = TimeDelta::seconds(15);
/// When to look again at what could not be decided.
const LATER: TimeDelta = TimeDelta::minutes(5);
/// When to look again at money that is on its way.
const MUCH_LATER: TimeDelta = TimeDelta::hours(1);

impl Payments {
    /// Looks at one portion of the checkouts that are due for it; tells how many there were.
    ///
    /// # Errors
    /// The database is away. What goes wrong with one checkout is logged, and tried again later.
    pub async fn look_at_checkouts(&self) -> Result<usize, PaymentError> {
        let now = self.clock.now();
        let due = self.store.checkouts_to_look_at(now, PORTION).await?;
        for checkout in &due {
            let wait = match self.look_at(checkout).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the checkout {} could not be looked at",
                        checkout.id
                    );
                    Some(LATER)
                }
            };
            if let Some(wait) = wait {
                self.store
                    .look_at_checkout_later(checkout, now + wait)
                    .await?;
            }
        }
        Ok(due.len())
    }

    /// Does what there is to be done; says after which time to look again, if at all.
    async fn look_at(&self, checkout: &CheckoutRecord) -> Result<Option<TimeDelta>, PaymentError> {
        match checkout.status {
            CheckoutStatus::Creating => self.end(checkout).await,
            CheckoutStatus::Pending => match self.state_of(checkout).await? {
                // Nobody can be asked, and the page may still be paid.
                None => Ok(Some(MUCH_LATER)),
                Some(SessionState::Open) => Ok(Some(LATER)),
                // The provider tells when the money has come, or `reconcile` does.
                Some(SessionState::Complete) => Ok(Some(MUCH_LATER)),
                Some(SessionState::Gone) => self.expire(checkout).await.map(|()| None),
            },
            CheckoutStatus::Expired => self.expire(checkout).await.map(|()| None),
            CheckoutStatus::Completed => Ok(None),
        }
    }

    /// Ends what a killed process has left half-made.
    async fn end(&self, checkout: &CheckoutRecord) -> Result<Option<TimeDelta>, PaymentError> {
        let now = self.clock.now();
        let Some(leased) = self
            .store
            .lease_checkout(checkout, now, now + LEASE)
            .await?
        else {
            return Ok(Some(LATER));
        };
        if checkout.price.total_cents == 0 {
            // It may be credited already, which only crediting it again can tell.
            self.make_undropped(leased).await?;
        } else {
            self.abandon(&leased).await?;
        }
        Ok(None)
    }

    /// What became of a checkout's page; `None` without a key to ask with.
    async fn state_of(
        &self,
        checkout: &CheckoutRecord,
    ) -> Result<Option<SessionState>, PaymentError> {
        let settings = self.stripe_settings(checkout.tenant).await?;
        let api_key = settings.and_then(|settings| settings.api_key);
        match (api_key, &checkout.session_id) {
            (Some(api_key), Some(session)) => {
                Ok(Some(self.provider.session_state(&api_key, session).await?))
            }
            (Some(_), None) => Ok(Some(SessionState::Gone)),
            (None, _) => Ok(None),
        }
    }
}
