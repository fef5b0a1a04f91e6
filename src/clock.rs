//! The time, and the only place that asks the machine for it.
//!
//! Everything else is handed a [`Clock`] and takes `now` from it, so a test can stand at any
//! instant. Answers are cut to whole milliseconds: what is stored, hashed and shown is then the
//! same instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

/// Where the time comes from. Clones of one clock agree with each other.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that stands still until a test moves it.
    Manual(ManualClock),
}

impl Clock {
    /// The present instant in UTC, in whole milliseconds.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => to_milliseconds(Utc::now()),
            Self::Manual(clock) => clock.now(),
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self::Manual(clock)
    }
}

/// A clock moved by hand. Clones share one time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    milliseconds: Arc<AtomicI64>,
}

impl ManualClock {
    /// A clock that stands at `at`.
    #[must_use]
    pub fn new(at: DateTime<Utc>) -> Self {
        Self {
            milliseconds: Arc::new(AtomicI64::new(at.timestamp_millis())),
        }
    }

    /// Where the clock stands.
    ///
    /// # Panics
    ///
    /// When it was moved out of the years that a date can have.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        let milliseconds = self.milliseconds.load(Ordering::SeqCst);
        DateTime::from_timestamp_millis(milliseconds).expect("a test stays within chrono's years")
    }

    /// Puts the clock to `at`, backwards too: the ledger has to stand a clock that steps back.
    pub fn set(&self, at: DateTime<Utc>) {
        self.milliseconds
            .store(at.timestamp_millis(), Ordering::SeqCst);
    }

    /// Moves the clock by `step`.
    pub fn advance(&self, step: TimeDelta) {
        self.milliseconds
            .fetch_add(step.num_milliseconds(), Ordering::SeqCst);
    }
}

fn to_milliseconds(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.timestamp_millis()).expect("cutting keeps it within range")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> DateTime<Utc> {
        text.parse().expect("a literal instant")
    }

    #[test]
    fn the_machines_time_has_whole_milliseconds() {
        let now = Clock::System.now();

        assert_eq!(now.timestamp_subsec_nanos() % 1_000_000, 0);
    }

    #[test]
    fn a_manual_clock_cuts_what_is_finer_than_a_millisecond() {
        let clock = ManualClock::new(instant("2026-01-31T10:00:00.123999Z"));

        assert_eq!(clock.now(), instant("2026-01-31T10:00:00.123Z"));
    }

    #[test]
    fn clones_of_a_manual_clock_move_together() {
        let hand = ManualClock::new(instant("2026-01-31T10:00:00Z"));
        let clock = Clock::from(hand.clone());

        hand.advance(TimeDelta::hours(2));
        assert_eq!(clock.now(), instant("2026-01-31T12:00:00Z"));

        hand.set(instant("2025-12-01T00:00:00Z"));
        assert_eq!(clock.clone().now(), instant("2025-12-01T00:00:00Z"));
    }
}
