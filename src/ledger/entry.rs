//! A journal entry: one event of a pool, its transfers, the state after it, and its hash.

use super::hash::Canonical;
use super::{
    Account, Balance, Credits, Details, EntryId, Fingerprint, Hash, IdempotencyKey, KeyId, Kind,
    Label, Metadata, PoolId, PurchaseId, Reason, RefundFacts, SignedCredits, Time, Transfer,
};

/// The key of a request and what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What makes a retry safe.
    pub key: IdempotencyKey,
    /// What the request asked for: another one with the same key is a conflict.
    pub fingerprint: Fingerprint,
}

/// Who asked: recorded with the entry, decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The API key it was done with; absent for what happens by itself.
    pub key: Option<KeyId>,
    /// The request, when it carried an idempotency key.
    pub request: Option<Request>,
}

/// What a debit was for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// The operation's code.
    pub operation: Option<Label>,
    /// The client's user.
    pub user_id: Option<Label>,
    /// The client's workspace.
    pub workspace_id: Option<Label>,
    /// The run it was part of.
    pub run_id: Option<Label>,
    /// The model that did the work.
    pub model: Option<Label>,
}

impl Attribution {
    /// Adds all of it to what makes two requests the same.
    pub(super) fn hashed_into(&self, form: Canonical) -> Canonical {
        let labels = [
            &self.operation,
            &self.user_id,
            &self.workspace_id,
            &self.run_id,
            &self.model,
        ];
        labels.into_iter().fold(form, |form, label| {
            form.text(label.as_ref().map(Label::as_str))
        })
    }
}

/// One event of a pool. Never changed, never removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose journal it is in.
    pub pool: PoolId,
    /// Its number there: from 1, without gaps.
    pub seq: i64,
    /// What happened.
    pub kind: Kind,
    /// When it happened, or was due.
    pub at: Time,
    /// Who asked for it.
    pub actor: Actor,
    /// What it was for.
    pub attribution: Attribution,
    /// The payment's reference.
    pub reference: Option<Label>,
    /// Why, in a person's words.
    pub reason: Option<Reason>,
    /// The purchase it belongs to.
    pub purchase: Option<PurchaseId>,
    /// The client's own.
    pub metadata: Option<Metadata>,
    /// JSON text of [`Details`].
    pub details: Option<Box<str>>,
    /// What moved.
    pub transfers: Vec<Transfer>,
    /// The balance after it.
    pub after: Balance,
    /// The entry that opened the cycle that was current after this one.
    pub cycle_seq: i64,
    /// The entry that opened the add-on pool that was live after this one.
    pub addon_seq: Option<i64>,
    /// Covers all of the above and the hash before it (invariant chained).
    pub hash: Hash,
}

impl Entry {
    /// The entry's id.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId::of(self.pool, self.seq, self.at)
    }

    /// What this entry moved from one account to another.
    #[must_use]
    pub fn moved(&self, from: Account, to: Account) -> Credits {
        let legs = self
            .transfers
            .iter()
            .filter(|leg| leg.from == from && leg.to == to);
        legs.map(|leg| leg.amount).sum()
    }

    /// What this entry drew from the grant of the current cycle, less what it returned to it.
    #[must_use]
    pub fn drawn_from_grant(&self) -> SignedCredits {
        let refund = match self.kind {
            Kind::Refund => self.read_details().and_then(|details| details.refund),
            _ => None,
        };
        drawn_from_grant(&self.transfers, refund.as_ref())
    }

    /// The hold this entry is about.
    #[must_use]
    pub fn hold_id(&self) -> Option<EntryId> {
        self.read_details()?.hold.map(|hold| hold.id)
    }

    /// The debit this entry gave back.
    #[must_use]
    pub fn debit_id(&self) -> Option<EntryId> {
        self.read_details()?.refund.map(|refund| refund.debit)
    }

    /// The details, read from their text; `None` when the text is not what we write.
    #[must_use]
    pub fn read_details(&self) -> Option<Details> {
        match &self.details {
            None => Some(Details::default()),
            Some(text) => serde_json::from_str(text).ok(),
        }
    }

    /// The hash this entry must have after `previous`: over every field but itself. Fields that
    /// later versions add are hashed only where they are present, so old entries keep their hash.
    #[must_use]
    pub fn chained_to(&self, previous: Hash) -> Hash {
        let request = self.actor.request.as_ref();
        let mut form = Canonical::new("entry.1")
            .bytes(previous.as_bytes())
            .bytes(self.pool.uuid().as_bytes())
            .number(self.seq)
            .text(Some(self.kind.as_str()))
            .number(self.at.timestamp_millis())
            .uuid(self.actor.key.map(|key| key.uuid()))
            .text(request.map(|request| request.key.as_str()))
            .bytes(request.map_or(&[][..], |request| &request.fingerprint.as_bytes()[..]));
        form = self
            .attribution
            .hashed_into(form)
            .text(self.reference.as_ref().map(Label::as_str))
            .text(self.reason.as_ref().map(Reason::as_str))
            .uuid(self.purchase.map(|purchase| purchase.uuid()))
            .text(self.metadata.as_ref().map(Metadata::as_str))
            .text(self.details.as_deref())
            .text(Some(&Transfer::list_to_text(&self.transfers)));
        self.state_after(form).hash()
    }

    fn state_after(&self, form: Canonical) -> Canonical {
        let Balance {
            monthly,
            addon,
            overdraft,
            held_ended,
            as_of: _,
            version: _,
        } = &self.after;
        form.number(monthly.granted.units())
            .number(monthly.settled.units())
            .number(monthly.held.units())
            .number(monthly.used.units())
            .number(monthly.cycle_start.timestamp_millis())
            .number(monthly.renews_at.timestamp_millis())
            .number(monthly.expires_at.timestamp_millis())
            .number(addon.granted.units())
            .number(addon.settled.units())
            .number(addon.held.units())
            .optional(addon.expires_at.map(|at| at.timestamp_millis()))
            .number(overdraft.units())
            .number(held_ended.units())
            .number(self.cycle_seq)
            .optional(self.addon_seq)
    }
}

/// What is drawn from the bucket or from a hold of the current cycle is used; what a refund returns
/// of it is used no more.
pub(super) fn drawn_from_grant(
    transfers: &[Transfer],
    refund: Option<&RefundFacts>,
) -> SignedCredits {
    let sources = [Account::Monthly, Account::HeldMonthly];
    let drawn: Credits = transfers
        .iter()
        .filter(|leg| leg.to == Account::Consumed && sources.contains(&leg.from))
        .map(|leg| leg.amount)
        .sum();
    drawn.signed() - refund.map_or(SignedCredits::ZERO, |it| it.unused().signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::samples::{buy, change, debit, label, moved, paid, pool, put, spend, time};

    const NOW: &str = "2026-01-31T10:00:00Z";

    /// A debit with everything that an entry can say.
    fn full() -> Entry {
        let mut book = pool(put("pro", 1), NOW);
        buy(&mut book, NOW, paid(100, NOW));
        let mut entry = Entry::clone(&spend(&mut book, NOW, debit(850)));
        let id = uuid::Uuid::from_u128(1);
        let request = Request {
            key: "key-1".parse().expect("a good key"),
            fingerprint: Canonical::new("one").fingerprint(),
        };
        entry.actor = Actor {
            key: Some(id.into()),
            request: Some(request),
        };
        entry.attribution = Attribution {
            operation: Some(label("a")),
            user_id: Some(label("a")),
            workspace_id: Some(label("a")),
            run_id: Some(label("a")),
            model: Some(label("a")),
        };
        entry.reference = Some(label("a"));
        entry.reason = "a".parse().ok();
        entry.purchase = Some(id.into());
        entry.metadata = Some(Metadata::stored("{\"a\":1}".to_owned()));
        entry.details = Some("{\"mode\":\"settle\"}".into());
        entry
    }

    fn more(credits: &mut Credits) {
        *credits = *credits + Credits::whole(1);
    }

    #[test]
    fn the_hash_covers_the_one_before_it_and_what_happened() {
        let changes: [fn(&mut Entry); 9] = [
            |entry| entry.pool = uuid::Uuid::from_u128(2).into(),
            |entry| entry.seq = 9,
            |entry| entry.kind = Kind::Close,
            |entry| entry.at = time("2026-01-31T10:00:00.001Z"),
            |entry| entry.details = None,
            |entry| more(&mut entry.transfers[0].amount),
            |entry| entry.transfers[0].to = Account::Lapsed,
            |entry| entry.transfers.swap(0, 1),
            |entry| drop(entry.transfers.drain(1..)),
        ];
        let hash = full().chained_to(Hash::GENESIS);
        assert_ne!(full().chained_to(hash), hash, "another one before it");
        for (which, change) in changes.into_iter().enumerate() {
            let mut entry = full();
            change(&mut entry);
            assert_ne!(entry.chained_to(Hash::GENESIS), hash, "{which}");
        }
    }

    #[test]
    fn the_hash_covers_who_asked_and_what_for() {
        let changes: [fn(&mut Entry); 17] = [
            |entry| entry.actor.key = None,
            |entry| entry.actor.key = Some(uuid::Uuid::from_u128(2).into()),
            |entry| entry.actor.request = None,
            |entry| {
                let request = entry.actor.request.as_mut().expect("it has one");
                request.key = "key-2".parse().expect("a good key");
            },
            |entry| {
                let request = entry.actor.request.as_mut().expect("it has one");
                request.fingerprint = Canonical::new("two").fingerprint();
            },
            |entry| entry.attribution.operation = None,
            |entry| entry.attribution.user_id = None,
            |entry| entry.attribution.workspace_id = Some(label("b")),
            |entry| entry.attribution.run_id = None,
            |entry| entry.attribution.model = None,
            |entry| entry.reference = None,
            |entry| entry.reason = None,
            |entry| entry.reason = "b".parse().ok(),
            |entry| entry.purchase = None,
            |entry| entry.purchase = Some(uuid::Uuid::from_u128(2).into()),
            |entry| entry.metadata = None,
            |entry| entry.metadata = Some(Metadata::stored("{}".to_owned())),
        ];
        let hash = full().chained_to(Hash::GENESIS);
        for (which, change) in changes.into_iter().enumerate() {
            let mut entry = full();
            change(&mut entry);
            assert_ne!(entry.chained_to(Hash::GENESIS), hash, "{which}");
        }
    }

    #[test]
    fn the_hash_covers_the_state_after() {
        let changes: [fn(&mut Entry); 16] = [
            |entry| more(&mut entry.after.monthly.granted),
            |entry| more(&mut entry.after.monthly.settled),
            |entry| more(&mut entry.after.monthly.held),
            |entry| more(&mut entry.after.monthly.used),
            |entry| entry.after.monthly.cycle_start = time("2026-01-01"),
            |entry| entry.after.monthly.renews_at = time("2026-01-01"),
            |entry| entry.after.monthly.expires_at = time("2026-01-01"),
            |entry| more(&mut entry.after.addon.granted),
            |entry| more(&mut entry.after.addon.settled),
            |entry| more(&mut entry.after.addon.held),
            |entry| entry.after.addon.expires_at = None,
            |entry| more(&mut entry.after.overdraft),
            |entry| more(&mut entry.after.held_ended),
            |entry| entry.cycle_seq = 2,
            |entry| entry.addon_seq = None,
            |entry| entry.addon_seq = Some(1),
        ];
        let hash = full().chained_to(Hash::GENESIS);
        for (which, change) in changes.into_iter().enumerate() {
            let mut entry = full();
            change(&mut entry);
            assert_ne!(entry.chained_to(Hash::GENESIS), hash, "{which}");
        }
    }

    #[test]
    fn labels_do_not_change_places_unseen() {
        let mut entry = full();
        entry.attribution.user_id = None;
        let without_user = entry.chained_to(Hash::GENESIS);
        let mut entry = full();
        entry.attribution.workspace_id = None;
        assert_ne!(entry.chained_to(Hash::GENESIS), without_user);
    }

    #[test]
    fn what_moved_is_summed_over_the_transfers_of_both_accounts() {
        let mut entry = full();
        let (monthly, addon) = (Account::Monthly, Account::Addon);
        assert_eq!(entry.moved(monthly, Account::Consumed), Credits::whole(800));
        assert_eq!(entry.moved(addon, Account::Consumed), Credits::whole(50));
        assert_eq!(entry.moved(Account::Consumed, monthly), Credits::ZERO);
        entry.transfers.push(moved(monthly, Account::Consumed, 5));
        assert_eq!(entry.moved(monthly, Account::Consumed), Credits::whole(805));
    }

    #[test]
    fn details_say_only_what_there_is_to_say_and_survive_their_text() {
        assert_eq!(Details::default().to_text(), None);
        let mut book = pool(put("pro", 1), NOW);
        change(&mut book, NOW, put("pro", 2));
        let entry = book.entries().last().expect("a restart");
        let details = entry.read_details().expect("details can be read");
        assert_eq!(details.requested.as_ref(), Some(&book.pool().requested));
        assert_eq!(details.to_text(), entry.details);

        let strange = Entry {
            details: Some("nonsense".into()),
            ..full()
        };
        assert_eq!(strange.read_details(), None);
    }
}
