//! What journal entries count for in usage: what was spent, net of what was given back.
//!
//! Figures add up, so any way of cutting a journal into pieces gives the same sums. Where credits
//! came from counts, whether they were drawn at once or by way of a hold.

use std::ops::{Add, AddAssign};

use super::{Account, Credits, Details, Entry, Kind, RefundFacts, SignedCredits, Transfer};

/// What entries count for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageFigures {
    /// Spent out of the monthly bucket, less what was given back of that.
    pub monthly: SignedCredits,
    /// Spent out of the add-on bucket, less what was given back of that.
    pub addon: SignedCredits,
    /// Spent beyond both, less what was given back of that.
    pub overdraft: SignedCredits,
    /// How many debits.
    pub count: i64,
    /// Of what was given back of `monthly`, the part that lapsed: it is in no bucket again.
    pub lapsed_monthly: SignedCredits,
    /// Of what was given back of `addon`, the part that lapsed.
    pub lapsed_addon: SignedCredits,
}

impl UsageFigures {
    /// Whether entries of this kind count for anything.
    #[must_use]
    pub const fn counts(kind: Kind) -> bool {
        matches!(kind, Kind::Debit | Kind::Refund | Kind::Import)
    }

    /// What an entry counts for, of these parts; `None` when its details cannot be read. An entry
    /// of a kind that does not count has no figures.
    #[must_use]
    pub fn of(kind: Kind, transfers: &[Transfer], details: Option<&str>) -> Option<Self> {
        if !Self::counts(kind) {
            return Some(Self::default());
        }
        let details: Details = match details {
            Some(text) => serde_json::from_str(text).ok()?,
            None => Details::default(),
        };
        match kind {
            Kind::Refund => details.refund.as_ref().map(Self::given_back),
            // Other entries of an import take figures over, and count for nothing.
            Kind::Import => Some(details.imported_debits.map_or_else(Self::default, |count| {
                let spent = Self::spent(transfers, &details);
                Self { count, ..spent }
            })),
            _ => Some(Self::spent(transfers, &details)),
        }
    }

    /// What an entry counts for; `None` when its details cannot be read.
    #[must_use]
    pub fn of_entry(entry: &Entry) -> Option<Self> {
        Self::of(entry.kind, &entry.transfers, entry.details.as_deref())
    }

    fn spent(transfers: &[Transfer], details: &Details) -> Self {
        let captured = details.captured.unwrap_or_default();
        let drawn = |account| {
            let spent = |leg: &&Transfer| leg.from == account && leg.to == Account::Consumed;
            let legs = transfers.iter().filter(spent);
            legs.map(|leg| leg.amount).sum::<Credits>()
        };
        Self {
            monthly: (drawn(Account::Monthly) + captured.monthly).signed(),
            addon: (drawn(Account::Addon) + captured.addon).signed(),
            overdraft: drawn(Account::Overdraft).signed(),
            count: 1,
            ..Self::default()
        }
    }

    fn given_back(refund: &RefundFacts) -> Self {
        let less = |credits: Credits| SignedCredits::ZERO - credits.signed();
        Self {
            monthly: less(refund.monthly),
            addon: less(refund.addon),
            overdraft: less(refund.overdraft),
            count: 0,
            lapsed_monthly: refund.lapsed_monthly.signed(),
            lapsed_addon: refund.lapsed_addon.signed(),
        }
    }

    /// All of it, net of everything that was given back.
    #[must_use]
    pub fn total(&self) -> SignedCredits {
        self.monthly + self.addon + self.overdraft
    }

    /// What the monthly bucket is short of by it, the overdraft counted: with what is left of the
    /// bucket it is the plan. What lapsed on its way back is in no bucket, so it stays spent.
    #[must_use]
    pub fn recurring(&self) -> SignedCredits {
        self.monthly + self.overdraft + self.lapsed_monthly
    }

    /// What the add-on bucket is short of by it.
    #[must_use]
    pub fn topup(&self) -> SignedCredits {
        self.addon + self.lapsed_addon
    }
}

impl Add for UsageFigures {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            monthly: self.monthly + other.monthly,
            addon: self.addon + other.addon,
            overdraft: self.overdraft + other.overdraft,
            count: self.count.saturating_add(other.count),
            lapsed_monthly: self.lapsed_monthly + other.lapsed_monthly,
            lapsed_addon: self.lapsed_addon + other.lapsed_addon,
        }
    }
}

impl AddAssign for UsageFigures {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::samples::{buy, debit, decide, paid, pass, pool, put, settle, spend};
    use crate::ledger::{
        Attribution, Book, Capture, Command, EntryId, Mode, NewHold, Outcome, Refund,
        RefundableDebit,
    };

    const NOW: &str = "2026-01-31T10:00:00Z";

    fn book(book: &mut Book, at: &str, command: Command) -> UsageFigures {
        let catalogue = crate::ledger::samples::catalogue();
        match decide(book, &catalogue, at, command) {
            Ok(Outcome::Booked(entry)) => of(&entry),
            other => panic!("not booked: {other:?}"),
        }
    }

    fn of(entry: &Entry) -> UsageFigures {
        UsageFigures::of_entry(entry).expect("details can be read")
    }

    fn figures(monthly: i64, addon: i64, overdraft: i64, count: i64) -> UsageFigures {
        let whole = |credits: i64| SignedCredits::from_units(credits.saturating_mul(100));
        UsageFigures {
            monthly: whole(monthly),
            addon: whole(addon),
            overdraft: whole(overdraft),
            count,
            ..UsageFigures::default()
        }
    }

    fn refund(debit: EntryId, credits: u32) -> Command {
        Command::Refund(Box::new(Refund {
            debit,
            credits: Some(Credits::whole(credits)),
            reason: None,
        }))
    }

    #[test]
    fn a_debit_counts_by_the_buckets_it_was_drawn_from() {
        let mut books = pool(put("pro", 1), NOW);
        buy(&mut books, NOW, paid(100, NOW));
        assert_eq!(of(&books.entries()[0]), UsageFigures::default());
        assert_eq!(of(&books.entries()[1]), UsageFigures::default());
        let mixed = of(&spend(&mut books, NOW, settle(950)));
        assert_eq!(mixed, figures(800, 100, 50, 1));
        assert_eq!(mixed.total().units(), 95_000);
        assert_eq!(
            (mixed.recurring().units(), mixed.topup().units()),
            (85_000, 10_000)
        );
    }

    #[test]
    fn a_capture_counts_where_its_hold_had_the_credits_from_ended_or_not() {
        for (at, name) in [(NOW, "live"), ("2026-03-01T10:00:00Z", "ended")] {
            let mut books = pool(put("pro", 1), NOW);
            buy(&mut books, NOW, paid(100, NOW));
            let hold = NewHold {
                credits: Some(Credits::whole(850)),
                round: None,
                partial: false,
                expires_in_seconds: 86_400 * 60,
                attribution: Attribution::default(),
                metadata: None,
            };
            assert_eq!(
                book(&mut books, NOW, Command::Hold(Box::new(hold))),
                UsageFigures::default()
            );
            let hold = books.entries()[2].id();
            let capture = Capture {
                hold,
                credits: Credits::whole(860),
                round: None,
                mode: Mode::Settle,
            };
            let counted = book(&mut books, at, Command::Capture(Box::new(capture)));
            // The ten above the hold come from what is there: add-on credits, or a new cycle's.
            let anew = if name == "live" { (0, 10) } else { (10, 0) };
            assert_eq!(counted, figures(800 + anew.0, 50 + anew.1, 0, 1), "{name}");
        }
    }

    #[test]
    fn a_refund_takes_from_the_figures_and_what_lapses_stays_spent_for_the_bucket() {
        let mut books = pool(put("pro", 1), NOW);
        buy(&mut books, NOW, paid(100, NOW));
        let entry = spend(&mut books, NOW, settle(950));
        let id = entry.id();
        books.keep_debit(RefundableDebit {
            entry,
            refunded: Credits::ZERO,
        });
        let first = book(&mut books, NOW, refund(id, 200));
        assert_eq!(first, figures(-50, -100, -50, 0));
        assert_eq!(first.recurring().units(), -10_000);

        pass(&mut books, "2026-03-01T10:00:00Z");
        let late = book(&mut books, "2026-03-01T10:00:00Z", refund(id, 100));
        let lapsed = Credits::whole(100).signed();
        let expected = UsageFigures {
            lapsed_monthly: lapsed,
            ..figures(-100, 0, 0, 0)
        };
        assert_eq!(late, expected);
        assert_eq!(late.total().units(), -10_000);
        assert_eq!(late.recurring(), SignedCredits::ZERO);
    }

    #[test]
    fn figures_add_up_and_unreadable_details_have_none() {
        let mut books = pool(put("pro", 1), NOW);
        let one = of(&spend(&mut books, NOW, debit(5)));
        let two = of(&spend(&mut books, NOW, debit(7)));
        assert_eq!(one + two, figures(12, 0, 0, 2));
        assert_eq!(UsageFigures::of(Kind::Debit, &[], Some("{")), None);
        assert_eq!(UsageFigures::of(Kind::Refund, &[], None), None);
    }
}
