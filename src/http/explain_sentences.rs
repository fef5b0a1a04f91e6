//! A debit told in plain English, for people who ask what a charge was.
//!
//! Only says what the entry says; the figures are worked out in [`explain`](super::explain).

use std::fmt::Write as _;

use serde::Serialize;
use utoipa::ToSchema;

use super::time::Stamp;
use crate::ledger::{
    Account, Balance, Credits, DebitFacts, Details, Entry, Mode, Operation, PoolName, PriceSource,
    SignedCredits,
};

/// Where credits of a debit came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DrawnBucket)]
pub enum Bucket {
    /// The cycle's credits.
    Monthly,
    /// Add-on credits.
    Addon,
    /// Beyond both.
    Overdraft,
}

/// Credits of a debit that came from one place.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// Which bucket.
    pub bucket: Bucket,
    /// How many.
    pub credits: Credits,
    /// Whether a hold had reserved them.
    pub from_hold: bool,
    /// Whether their cycle or add-on pool was over.
    pub ended: bool,
}

/// Everything there is to tell of a debit.
pub struct Told<'a> {
    /// The pool's name.
    pub pool: &'a PoolName,
    /// The debit's entry.
    pub entry: &'a Entry,
    /// The entry before it.
    pub before: &'a Entry,
    /// What it drew.
    pub facts: &'a DebitFacts,
    /// What only a debit's entry says.
    pub details: &'a Details,
    /// What the rate card says of the operation now.
    pub operation: Option<&'a Operation>,
    /// Where the credits came from.
    pub drawn: &'a [Drawn],
    /// What was given back since.
    pub refunds: &'a [Entry],
}

impl Drawn {
    /// Why credits came from there.
    pub const fn why(&self) -> &'static str {
        match (self.bucket, self.from_hold, self.ended) {
            (Bucket::Monthly, true, false) => {
                "a hold had reserved them out of the monthly bucket, and a hold's monthly part is \
                 spent first"
            }
            (Bucket::Monthly, true, true) => {
                "a hold had reserved them out of a monthly bucket whose cycle is over; what is \
                 held can still be spent"
            }
            (Bucket::Addon, true, false) => {
                "a hold had reserved them out of the add-on bucket, and its monthly part was spent"
            }
            (Bucket::Addon, true, true) => {
                "a hold had reserved them out of an add-on pool that is over; what is held can \
                 still be spent"
            }
            (Bucket::Monthly, false, _) => "the monthly bucket is always drawn first",
            (Bucket::Addon, false, _) => {
                "the monthly bucket had no more to give, and add-on credits come next"
            }
            (Bucket::Overdraft, ..) => {
                "neither bucket had more to give, and the work was done already, so it is owed and \
                 the next grant repays it"
            }
        }
    }

    const fn place(&self) -> &'static str {
        match (self.bucket, self.from_hold) {
            (Bucket::Monthly, true) => "the monthly part of the hold",
            (Bucket::Addon, true) => "the add-on part of the hold",
            (Bucket::Monthly, false) => "the monthly bucket",
            (Bucket::Addon, false) => "the add-on bucket",
            (Bucket::Overdraft, _) => "beyond both buckets",
        }
    }
}

/// The whole story, in order.
pub fn tell(told: &Told<'_>) -> Vec<String> {
    let mut sentences = vec![what_it_was(told), price(told)];
    sentences.extend(rounding(told));
    sentences.extend(average(told));
    sentences.extend(hold(told));
    sentences.push(mode(told).to_owned());
    sentences.push(format!("Before it, {}.", had(&told.before.after)));
    for part in told.drawn {
        let (amount, place) = (credits(part.credits), part.place());
        sentences.push(format!("{amount} came from {place}: {}.", part.why()));
    }
    sentences.push(format!("After it, {}.", had(&told.entry.after)));
    sentences.extend(refunds(told));
    sentences.push(proof(told));
    sentences
}

fn what_it_was(told: &Told<'_>) -> String {
    let who = &told.entry.attribution;
    let mut text = format!(
        "On {} {} left the pool {}",
        Stamp(told.entry.at),
        credits(told.facts.credits),
        told.pool
    );
    match (&who.operation, told.operation) {
        (Some(code), Some(operation)) => {
            let _never_fails = write!(text, " for \"{}\" ({code})", operation.name);
        }
        (Some(code), None) => {
            let _never_fails = write!(text, " for {code}");
        }
        (None, _) => text.push_str(" for no operation of the rate card"),
    }
    let rest = [
        ("by user", &who.user_id),
        ("in workspace", &who.workspace_id),
        ("in run", &who.run_id),
        ("with model", &who.model),
    ];
    for (word, label) in rest {
        if let Some(label) = label {
            let _never_fails = write!(text, ", {word} {label}");
        }
    }
    text + "."
}

fn price(told: &Told<'_>) -> String {
    let named = credits(told.facts.requested.unwrap_or(told.facts.credits));
    match told.details.price {
        None if told.facts.hold.is_some() => {
            format!("The price was named by the capture: {named}.")
        }
        None => format!("The price was named by the request: {named}."),
        Some(PriceSource::Fixed) => {
            format!("The price is fixed by the rate card, whatever the work takes: {named}.")
        }
        Some(PriceSource::LegacyFixed) => {
            format!("The price is fixed by the rate card for plans with the old prices: {named}.")
        }
    }
}

fn rounding(told: &Told<'_>) -> Option<String> {
    let named = told.facts.requested?;
    let booked = credits(told.facts.credits);
    Some(if named == told.facts.credits {
        "Rounding was asked for, and there was nothing to round.".to_owned()
    } else {
        format!("It was rounded to {booked}, because the plan is counted in larger steps.")
    })
}

fn average(told: &Told<'_>) -> Option<String> {
    let average = credits(told.operation?.estimate);
    Some(format!("On average this operation takes {average}."))
}

fn hold(told: &Told<'_>) -> Option<String> {
    let hold = told.details.hold.as_ref()?;
    let (id, reserved) = (hold.id, credits(hold.credits()));
    Some(match told.details.captured {
        None => format!(
            "It settles the work of the hold {id} over {reserved}, which had expired by then, so \
             all of it was drawn anew."
        ),
        Some(captured) => {
            let spent = captured.monthly + captured.addon;
            let rest = hold.credits().saturating_sub(spent);
            let given_back = match rest.is_zero() {
                true => "nothing was left of it".to_owned(),
                false => format!("the other {} were given up", rest),
            };
            format!("The hold {id} had reserved {reserved} for it; {given_back}.")
        }
    })
}

const fn mode(told: &Told<'_>) -> &'static str {
    match told.facts.mode {
        Mode::Strict => "It was strict: had the pool been short, nothing would have been booked.",
        Mode::Settle => {
            "The work was done already (settle), so it was booked whatever the pool had."
        }
    }
}

fn had(balance: &Balance) -> String {
    let monthly = balance.monthly.settled.signed() - balance.monthly.held.signed();
    let mut text = format!(
        "the pool had {} monthly and {} add-on credits to spend",
        monthly,
        balance.addon_available()
    );
    if !balance.held().is_zero() {
        let _never_fails = write!(text, ", {} held", balance.held());
    }
    if !balance.overdraft.is_zero() {
        let _never_fails = write!(text, ", and owed {}", balance.overdraft);
    }
    text
}

fn refunds(told: &Told<'_>) -> Vec<String> {
    if told.refunds.is_empty() {
        return vec!["Nothing of it was refunded so far.".to_owned()];
    }
    told.refunds.iter().map(refund).collect()
}

fn refund(entry: &Entry) -> String {
    let into = |account| entry.moved(Account::Consumed, account);
    let parts = [
        (into(Account::Overdraft), "lowered what is owed"),
        (into(Account::Addon), "went back to the add-on bucket"),
        (into(Account::Monthly), "went to the monthly bucket"),
        (
            into(Account::Lapsed),
            "lapsed, because what they came from is over",
        ),
    ];
    let all: Credits = parts.iter().map(|(credits, _)| *credits).sum();
    let told: Vec<String> = parts
        .iter()
        .filter(|(credits, _)| !credits.is_zero())
        .map(|(credits, went)| format!("{credits} {went}"))
        .collect();
    let at = Stamp(entry.at);
    let because = match &entry.reason {
        Some(reason) => format!(" (\"{reason}\")"),
        None => String::new(),
    };
    format!(
        "On {at} {} of it were refunded{because}: {}.",
        credits(all),
        told.join(", ")
    )
}

fn proof(told: &Told<'_>) -> String {
    format!(
        "The journal keeps it as entry {} with the hash {}, which also covers the hash of entry {} \
         before it, {}: a change of either is found by `credit-ledger verify`.",
        told.entry.seq, told.entry.hash, told.before.seq, told.before.hash
    )
}

fn credits(credits: Credits) -> String {
    let one = SignedCredits::from_units(100);
    match credits.signed() == one {
        true => "1 credit".to_owned(),
        false => format!("{credits} credits"),
    }
}
