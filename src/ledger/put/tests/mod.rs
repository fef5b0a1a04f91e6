//! What a PUT asks for and what it changes: each rule of the contract's section 4, each refusal.

mod changes;
mod licenses;
mod making;

use super::*;
use crate::ledger::samples::{
    catalogue, change, create, decide, enterprise, kinds, last_transfers, license, moved, pass,
    pool, put, refusal, settle, spend, time, until,
};
use crate::ledger::{Account, Command, LicenseStatus, LicenseType, Plan};

const NOW: &str = "2026-01-31T10:00:00Z";
const ENDED: &str = "2026-01-01";

fn only(builders: Seats) -> PutPool {
    PutPool {
        builders: Patch::Set(builders),
        ..PutPool::default()
    }
}

fn unlimited(plan: &str, credits: u32) -> PutPool {
    PutPool {
        monthly_allowance: Patch::Set(Credits::whole(credits)),
        builders: Patch::Set(Seats::Unlimited),
        ..put(plan, 1)
    }
}

fn with_license(put: PutPool, license: License) -> PutPool {
    PutPool {
        license: Patch::Set(license),
        ..put
    }
}

fn trial(put: PutPool) -> PutPool {
    with_license(put, license(LicenseType::Trial, None))
}

fn metadata() -> Patch<Metadata> {
    Patch::Set(Metadata::stored("{\"a\":1}".to_owned()))
}

fn refused(book: &mut Book, put: PutPool) -> &'static str {
    refusal(book, NOW, Command::Update(Box::new(put)))
}

fn status(book: &Book, at: &str) -> Option<LicenseStatus> {
    let license = book.pool().shown_license();
    license.map(|license| license.status(time(at)))
}

/// The default catalogue with one more version of a plan, in force from February on.
fn edited(plan: &str, allowance: Allowance) -> Catalogue {
    let mut catalogue = catalogue();
    let code = plan.parse().expect("a good code");
    let Some(Plan { versions, .. }) = catalogue.plans.get_mut(&code) else {
        panic!("no default plan {plan}");
    };
    versions.push(PlanVersion {
        version: 2,
        effective_at: time("2026-02-01"),
        allowance,
        ..versions[0].clone()
    });
    catalogue
}
