//! A pool's licence: what it says, when it ends, what it is called meanwhile.

use chrono::Duration;
use serde::{Deserialize, Serialize};

use super::plan::Seats;
use super::{Label, Time, add_months};

/// How many days a trial without an end of its own lasts, counted from the first trial ever.
pub const TRIAL_DAYS: i64 = 14;

/// What kind of licence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LicenseType {
    /// The free self-hosted edition.
    Basic,
    /// A trial: 14 days when it names no end.
    Trial,
    /// Paid.
    Paid,
    /// Behaves as paid.
    Business,
    /// Behaves as paid.
    Enterprise,
}

/// The seats a licence allows; shown, not enforced here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LicenseLimits {
    /// All users.
    #[serde(default)]
    pub users: Option<Seats>,
    /// Users who build.
    #[serde(default)]
    pub builders: Option<Seats>,
    /// Users who only use what was built.
    #[serde(default)]
    pub end_users: Option<Seats>,
}

/// A licence as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct License {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: LicenseType,
    /// When it expires; never, when absent.
    pub expires_at: Option<Time>,
    /// Until when an expired licence is still honoured.
    pub grace_until: Option<Time>,
    /// What it allows.
    pub limits: Option<LicenseLimits>,
    /// What else its key says, when it came as a signed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Box<Signed>>,
    /// Whether the pool has had a paid one, this or an earlier one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows_paid: bool,
    /// What was given up on the pool before, if anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<GivenUp>,
    /// Whether the pool is shown without one: it was given up or cleared, and is only remembered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_hidden: bool,
}

/// Signed licences that were taken from a pool before their end. A pool remembers them whatever
/// comes next, so that the same key applied and given up in turn is granted once (invariant no
/// minting). A plan that is put in between is a new request, and granted by its own rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// When the latest of them was issued.
    pub issued_at: Time,
    /// When the last of them was taken.
    pub at: Time,
}

/// What is kept of a signed licence's key. The key itself is private and kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Tells which key it was.
    pub fingerprint: Label,
    /// When it was issued: an older one never takes the place of a newer one.
    pub issued_at: Time,
    /// What the licence opens, in the vendor's words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Label>,
}

/// What a licence is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LicenseStatus {
    /// There is none.
    None,
    /// In force.
    Active,
    /// Expired, still honoured.
    Grace,
    /// Over.
    Expired,
}

words!(LicenseType {
    Basic => "basic",
    Trial => "trial",
    Paid => "paid",
    Business => "business",
    Enterprise => "enterprise",
});

words!(LicenseStatus {
    None => "none",
    Active => "active",
    Grace => "grace",
    Expired => "expired",
});

impl LicenseType {
    /// Whether somebody pays for it.
    #[must_use]
    pub const fn is_paid(self) -> bool {
        match self {
            Self::Paid | Self::Business | Self::Enterprise => true,
            Self::Basic | Self::Trial => false,
        }
    }
}

impl GivenUp {
    /// Whether it was less than a month ago.
    #[must_use]
    pub fn is_recent(&self, now: Time) -> bool {
        now < add_months(self.at, 1)
    }
}

impl License {
    /// A licence of a kind, without an end or limits, that was not signed.
    #[must_use]
    pub const fn of(kind: LicenseType) -> Self {
        Self {
            kind,
            expires_at: None,
            grace_until: None,
            limits: None,
            signed: None,
            follows_paid: false,
            given_up: None,
            is_hidden: false,
        }
    }

    /// Whether it, or one before it, was paid.
    #[must_use]
    pub const fn tells_of_paid(&self) -> bool {
        self.follows_paid || self.kind.is_paid()
    }

    /// The licence after it was taken from the pool. What was given up less than a month before it
    /// counts as given up with it.
    pub(super) fn withdrawn(mut self, now: Time) -> Self {
        let Some(signed) = &self.signed else {
            return self;
        };
        let recent = self.given_up.filter(|it| it.is_recent(now));
        let issued_at = recent.map_or(signed.issued_at, |it| it.issued_at.max(signed.issued_at));
        self.given_up = Some(GivenUp { issued_at, at: now });
        self.is_hidden = true;
        self
    }

    /// What stays of it when it is cleared: that there was a paid one, and what was given up.
    pub(super) fn forgotten(mut self) -> Option<Self> {
        self.is_hidden = true;
        Some(self).filter(|last| last.tells_of_paid() || last.given_up.is_some())
    }

    /// The instant at which the pool falls back to its free plan.
    #[must_use]
    pub fn ends_at(&self) -> Option<Time> {
        self.grace_until.or(self.expires_at)
    }

    /// The licence with the end that a trial without one has; `first_trial` is when a trial was
    /// first applied to the pool.
    #[must_use]
    pub fn with_trial_end(mut self, first_trial: Time) -> Self {
        if self.kind == LicenseType::Trial && self.expires_at.is_none() {
            self.expires_at = first_trial.checked_add_signed(Duration::days(TRIAL_DAYS));
        }
        self
    }

    /// What the licence is at `now`. Its end decides first: a grace may be over before the licence
    /// expires, or be given without an expiry.
    #[must_use]
    pub fn status(&self, now: Time) -> LicenseStatus {
        let over = |end: Option<Time>| end.is_some_and(|end| end <= now);
        if over(self.ends_at()) {
            LicenseStatus::Expired
        } else if over(self.expires_at) {
            LicenseStatus::Grace
        } else {
            LicenseStatus::Active
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().expect("a time")
    }

    fn license(kind: LicenseType, expires_at: Option<&str>, grace: Option<&str>) -> License {
        let (expires_at, grace_until) = (expires_at.map(time), grace.map(time));
        License {
            expires_at,
            grace_until,
            ..License::of(kind)
        }
    }

    #[test]
    fn a_trial_without_an_end_lasts_fourteen_days_from_the_first_one() {
        let trial = license(LicenseType::Trial, None, None);
        let first = time("2026-01-20T10:00:00Z");
        assert_eq!(
            trial.with_trial_end(first).ends_at(),
            Some(time("2026-02-03T10:00:00Z"))
        );
        let paid = license(LicenseType::Paid, None, None);
        assert_eq!(paid.with_trial_end(first).ends_at(), None);
    }

    #[test]
    fn the_status_goes_from_active_through_grace_to_expired() {
        let expires = "2026-01-31T00:00:00Z";
        let graced = license(
            LicenseType::Paid,
            Some(expires),
            Some("2026-02-07T00:00:00Z"),
        );
        let rows = [
            ("2026-01-30T23:59:59.999Z", LicenseStatus::Active),
            (expires, LicenseStatus::Grace),
            ("2026-02-07T00:00:00Z", LicenseStatus::Expired),
        ];
        for (now, status) in rows {
            assert_eq!(graced.status(time(now)), status, "{now}");
        }
        let plain = license(LicenseType::Paid, Some(expires), None);
        assert_eq!(plain.status(time(expires)), LicenseStatus::Expired);
    }

    #[test]
    fn a_grace_that_is_over_ends_a_licence_whatever_its_expiry() {
        let (grace, later) = ("2026-01-20T00:00:00Z", "2026-01-31T00:00:00Z");
        for expires in [None, Some(later)] {
            let graced = license(LicenseType::Paid, expires, Some(grace));
            assert_eq!(graced.ends_at(), Some(time(grace)));
            let before = graced.status(time("2026-01-19T23:59:59.999Z"));
            assert_eq!(before, LicenseStatus::Active, "{expires:?}");
            let status = graced.status(time(grace));
            assert_eq!(status, LicenseStatus::Expired, "{expires:?}");
        }
    }
}
