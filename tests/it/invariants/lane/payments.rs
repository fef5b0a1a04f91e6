//! Purchases, and what becomes of their payments: the store claims references and numbers states.

use credit_ledger::ledger::{Book, Bought, Command, Outcome, PurchaseId, Refusal, Time};
use uuid::Uuid;

use super::super::{answers, requests};
use super::Lane;
use crate::model;
use crate::model::Answer;

impl Lane {
    /// Every purchase there ever was, with all that is decided about it.
    pub fn bought(&self) -> impl Iterator<Item = &Bought> {
        let changed = || self.book.iter().flat_map(Book::changed_bought);
        let newer = move |seq| changed().find(|bought| bought.seq == seq);
        let committed = self.bought.values();
        let committed = committed.map(move |bought| newer(bought.seq).unwrap_or(bought));
        let uncommitted = changed().filter(|bought| !self.bought.contains_key(&bought.seq));
        committed.chain(uncommitted)
    }

    /// The claim of a payment reference, in short: what was credited before is answered again.
    pub(super) fn purchase(
        &mut self,
        now: Time,
        bought: &model::Purchase,
    ) -> Result<Answer, Refusal> {
        match self.payments.get(&bought.reference) {
            Some((credits, _)) if *credits != bought.credits => {
                return Err(Refusal::PaymentReferenceReused);
            }
            Some((_, answer)) => return Ok(credited_before(answer)),
            None => {}
        }
        let check = Command::CheckPurchase(Box::new(requests::purchase(bought, self.commands)));
        self.decide(now, check)?;
        let answer = self.decide(now, self.command(&model::Command::Purchase(bought.clone())))?;
        let credited = (bought.credits, answer.clone());
        self.payments.insert(bought.reference.clone(), credited);
        Ok(answer)
    }

    /// Each state that a payment is told to be in is a version of its own.
    pub(super) fn settle(&mut self, now: Time, known: &model::Settle) -> Result<Answer, Refusal> {
        let seq = i64::try_from(known.purchase).expect("a case is short");
        let id_and_version = self.bought().find(|bought| bought.seq == seq);
        let id_and_version = id_and_version.map(|bought| (bought.id, bought.payment.version + 1));
        let unknown = || (PurchaseId::from(Uuid::nil()), 1);
        let (id, version) = id_and_version.unwrap_or_else(unknown);
        let settlement = requests::settlement(id, version, known);
        let outcome = self.outcome(now, Command::Settle(Box::new(settlement)))?;
        let entry = match outcome {
            Outcome::Booked(entry) => Some(entry),
            Outcome::Done | Outcome::Put(_) => None,
        };
        let bought = self.bought().find(|bought| bought.id == id);
        let bought = bought.expect("it was settled");
        Ok(answers::settled(entry.as_deref(), bought))
    }
}

fn credited_before(answer: &Answer) -> Answer {
    let mut again = answer.clone();
    if let Answer::Purchased { first, .. } = &mut again {
        *first = false;
    }
    again
}
