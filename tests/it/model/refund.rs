//! Section 6: refunds, of one debit or of all debits of a run.

use super::parts::{Part, take, total};
use super::pool::Pool;
use super::spend::valid_amount;
use super::{Account, Answer, BALANCE_LIMIT, Code, Instant, Kind, Model, Transfer};

/// A debit as far as refunds go: what of it is not refunded yet.
#[derive(Clone, Debug)]
pub struct BookedDebit {
    pub seq: usize,
    pub run: Option<String>,
    pub overdraft: i64,
    /// In the order in which refunds undo them, after the overdraft.
    pub parts: Vec<Part>,
}

/// One of a run's refunds: what it was of, and where the credits went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunRefund {
    pub seq: usize,
    pub debit: usize,
    pub credits: i64,
    pub overdraft: i64,
    pub addon: i64,
    pub monthly: i64,
    pub lapsed: i64,
}

/// What the refund of this entry gave back to the very cycle that it was drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Unused {
    pub seq: usize,
    pub credits: i64,
}

impl BookedDebit {
    fn left(&self) -> i64 {
        self.overdraft + total(&self.parts)
    }
}

impl Model {
    pub(super) fn refund(
        &mut self,
        now: Instant,
        debit: usize,
        credits: Option<i64>,
    ) -> Result<Answer, Code> {
        let pool = self.writable()?;
        let credits = credits.map(valid_amount).transpose()?;
        let mut debits = pool.debits.iter();
        let debit = debits.find(|booked| booked.seq == debit);
        let debit = debit.ok_or("not_found")?.clone();
        let credits = credits.unwrap_or(debit.left());
        let refunded = pool.refund(now, debit, credits)?;
        pool.collect(now, refunded.addon);
        Ok(Answer::Refunded {
            seq: refunded.seq,
            credits: refunded.credits,
            overdraft: refunded.overdraft,
            addon: refunded.addon,
            monthly: refunded.monthly,
            lapsed: refunded.lapsed,
        })
    }

    /// All that is left of the run, oldest debit first, and all or nothing. What was lost of a
    /// payment is collected when all of it is back.
    pub(super) fn refund_run(&mut self, now: Instant, run: &str) -> Result<Answer, Code> {
        let pool = self.writable()?;
        let of_the_run = pool
            .debits
            .iter()
            .filter(|debit| debit.run.as_deref() == Some(run) && debit.left() > 0);
        let of_the_run: Vec<_> = of_the_run.cloned().collect();
        if of_the_run.is_empty() {
            return Err("refund_exceeds_debit");
        }
        let mut refunded = pool.clone();
        let refunds = of_the_run
            .into_iter()
            .map(|debit| {
                let left = debit.left();
                refunded.refund(now, debit, left)
            })
            .collect::<Result<Vec<_>, _>>()?;
        *pool = refunded;
        pool.collect(now, refunds.iter().map(|refund| refund.addon).sum());
        let credits = refunds.iter().map(|refund| refund.credits).sum();
        Ok(Answer::RunRefunded { refunds, credits })
    }
}

impl Pool {
    fn refund(
        &mut self,
        now: Instant,
        mut debit: BookedDebit,
        credits: i64,
    ) -> Result<RunRefund, Code> {
        if debit.left() == 0 || credits > debit.left() {
            return Err("refund_exceeds_debit");
        }
        let overdraft = credits.min(debit.overdraft);
        debit.overdraft -= overdraft;
        let undone = take(&mut debit.parts, credits - overdraft);
        // Whoever caused what is owed now; what is repaid already belongs to the pool for good.
        let repaying = overdraft.min(self.overdraft());
        let mut transfers = vec![
            Account::Consumed.to(Account::Overdraft, repaying),
            Account::Consumed.to(Account::Monthly, overdraft - repaying),
        ];
        transfers.extend(undone.iter().map(|part| {
            let home = self.home_of(part.origin);
            Account::Consumed.to(home, part.credits)
        }));
        self.refuse_above_the_limit(&transfers)?;
        self.note_lapses(&undone);
        let unused = undone
            .iter()
            .filter(|part| self.home_of(part.origin) == Account::Monthly);
        let unused = unused.map(|part| part.credits).sum();
        let seq = self.write(Kind::Refund, now, transfers);
        self.unused.push(Unused {
            seq,
            credits: unused,
        });
        let answer = self.told_of_refund(seq, debit.seq);
        let mut debits = self.debits.iter_mut();
        let booked = debits.find(|booked| booked.seq == debit.seq);
        *booked.expect("it is one of them") = debit;
        Ok(answer)
    }

    fn refuse_above_the_limit(&self, transfers: &[Transfer]) -> Result<(), Code> {
        let buckets = [
            (Account::Monthly, self.monthly_settled()),
            (Account::Addon, self.addon_settled()),
        ];
        for (bucket, settled) in buckets {
            let into = transfers.iter().filter(|transfer| transfer.to == bucket);
            let given: i64 = into.map(|transfer| transfer.amount).sum();
            if settled + given > BALANCE_LIMIT {
                return Err("balance_limit");
            }
        }
        Ok(())
    }

    /// The entry says where the credits went.
    fn told_of_refund(&self, seq: usize, debit: usize) -> RunRefund {
        let entry = &self.journal[seq - 1];
        let [overdraft, addon, monthly, lapsed] = [
            Account::Overdraft,
            Account::Addon,
            Account::Monthly,
            Account::Lapsed,
        ]
        .map(|account| entry.moved(Account::Consumed, account));
        RunRefund {
            seq,
            debit,
            credits: overdraft + addon + monthly + lapsed,
            overdraft,
            addon,
            monthly,
            lapsed,
        }
    }
}
