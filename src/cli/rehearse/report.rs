//! What a rehearsal found: sums for each tenant and in all, the pools that would run out, and a
//! line of CSV for every pool. However many pools there are, only the worst are kept.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::report_file::ReportFile;
use crate::cli::table;
use crate::http::time::Stamp;
use crate::ledger::{Figures, LeftOut, PoolName, Rehearsed, SignedCredits, Tally, TenantId, Time};
use crate::store::TenantRecord;

/// How many of the worst pools are shown.
const WORST: usize = 20;

/// What was found.
pub struct Report {
    months: i32,
    now: Time,
    tenants: Vec<(TenantRecord, Sums)>,
    total: Sums,
    run_out: Worst,
    no_longer: Worst,
    file: ReportFile,
}

/// Sums over pools.
#[derive(Clone, Copy, Default)]
struct Sums {
    pools: u64,
    /// Pools of which no cycle began in the window.
    outside: u64,
    entries: i64,
    now: Side,
    then: Side,
    newly_out: u64,
    no_longer_out: u64,
    left_out: LeftOut,
}

/// What was, or would have been.
#[derive(Clone, Copy, Default)]
struct Side {
    figures: Figures,
    pools_out: u64,
    outages: i64,
}

/// A pool that ran out, or would have.
struct Row {
    tenant: TenantId,
    name: PoolName,
    rehearsed: Rehearsed,
}

/// The rows with the most of something, the worst first.
#[derive(Default)]
struct Worst(Vec<(SignedCredits, Row)>);

impl Worst {
    fn add(&mut self, short: SignedCredits, row: Row) {
        let place = self.0.partition_point(|(other, _)| *other >= short);
        self.0.insert(place, (short, row));
        self.0.truncate(WORST);
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.0.iter().map(|(_, row)| row)
    }
}

impl Side {
    fn add(&mut self, tally: &Tally) {
        self.figures += tally.figures;
        self.pools_out += u64::from(tally.ran_out());
        self.outages += tally.outages;
    }
}

impl Sums {
    fn add(&mut self, rehearsed: &Rehearsed) {
        let (now, then) = (&rehearsed.now, &rehearsed.then);
        self.pools += 1;
        self.entries += rehearsed.entries;
        self.now.add(now);
        self.then.add(then);
        self.newly_out += u64::from(then.ran_out() && !now.ran_out());
        self.no_longer_out += u64::from(now.ran_out() && !then.ran_out());
        self.left_out.refunds += rehearsed.left_out.refunds;
        self.left_out.purchases += rehearsed.left_out.purchases;
        self.left_out.changes += rehearsed.left_out.changes;
    }
}

const CSV_HEADER: [&str; 27] = [
    "tenant",
    "pool",
    "plan",
    "runs_out",
    "ran_out_now",
    "first_out_at",
    "first_out_cycle_start",
    "short",
    "refused",
    "not_served",
    "outages_now",
    "outages_then",
    "first_out_at_now",
    "short_now",
    "granted_now",
    "granted_then",
    "lapsed_now",
    "lapsed_then",
    "monthly_now",
    "monthly_then",
    "addon_now",
    "addon_then",
    "overdraft_now",
    "overdraft_then",
    "bought_now",
    "bought_then",
    "left_out",
];

impl Report {
    /// Nothing found yet; opens the file for the lines of CSV.
    pub fn new(months: i32, now: Time, csv: Option<&Path>) -> anyhow::Result<Self> {
        let file = ReportFile::create(csv, CSV_HEADER).with_context(|| {
            let path = csv.unwrap_or(Path::new("")).display();
            format!("{path} cannot be written")
        })?;
        Ok(Self {
            months,
            now,
            tenants: Vec::new(),
            total: Sums::default(),
            run_out: Worst::default(),
            no_longer: Worst::default(),
            file,
        })
    }

    /// What comes next is of this tenant. One without pools in the window is not shown.
    pub fn begin(&mut self, tenant: &TenantRecord) {
        self.tenants.retain(|(_, sums)| sums.pools > 0);
        self.tenants.push((tenant.clone(), Sums::default()));
    }

    /// Adds what came of a pool.
    pub fn add(&mut self, name: &PoolName, rehearsed: Option<Rehearsed>) -> anyhow::Result<()> {
        let Some((tenant, sums)) = self.tenants.last_mut() else {
            return Ok(());
        };
        let Some(rehearsed) = rehearsed else {
            sums.outside += 1;
            self.total.outside += 1;
            return Ok(());
        };
        sums.add(&rehearsed);
        self.total.add(&rehearsed);
        let row = Row {
            tenant: tenant.id,
            name: name.clone(),
            rehearsed,
        };
        self.file.write(row.fields())?;
        let Rehearsed { now, then, .. } = &row.rehearsed;
        let (now, then) = (*now, *then);
        if then.ran_out() {
            self.run_out.add(then.figures.short(), row);
        } else if now.ran_out() {
            self.no_longer.add(now.figures.short(), row);
        }
        Ok(())
    }

    /// Everything is found.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.file.finish()?;
        self.tenants.retain(|(_, sums)| sums.pools > 0);
        Ok(())
    }

    /// One object.
    pub fn to_json(&self) -> Value {
        let tenant = |(tenant, sums): &(TenantRecord, Sums)| {
            let mut sums = sums.to_json();
            sums["tenant"] = json!(tenant.id);
            sums["name"] = json!(tenant.name.as_str());
            sums
        };
        json!({
            "months": self.months,
            "until": Stamp(self.now),
            "tenants": self.tenants.iter().map(tenant).collect::<Vec<_>>(),
            "total": self.total.to_json(),
            "run_out": self.run_out.rows().map(Row::to_json).collect::<Vec<_>>(),
            "no_longer_run_out": self.no_longer.rows().map(Row::to_json).collect::<Vec<_>>(),
        })
    }

    /// Tables for people.
    pub fn print(&self) {
        if self.tenants.len() > 1 {
            for (tenant, sums) in &self.tenants {
                println!("{} ({})\n", tenant.name.as_str(), tenant.id);
                sums.print();
            }
            println!("In all\n");
        }
        self.total.print();
        print_pools("would run out", self.total.then.pools_out, &self.run_out);
        let count = self.total.no_longer_out;
        print_pools("would no longer run out", count, &self.no_longer);
        let LeftOut {
            refunds,
            purchases,
            changes,
        } = self.total.left_out;
        let (pools, outside) = (self.total.pools, self.total.outside);
        println!(
            "{pools} pools, {} entries replayed; no cycle of {outside} pools began in the last {} \
            months. Left out: {refunds} refunds of refused debits, {purchases} purchases, \
            {changes} changes",
            self.total.entries, self.months
        );
    }
}

impl Sums {
    fn to_json(self) -> Value {
        let LeftOut {
            refunds,
            purchases,
            changes,
        } = self.left_out;
        let mut now = self.now.to_json();
        // What was refused in the past is in no journal.
        now["refused"] = Value::Null;
        now["not_served"] = Value::Null;
        json!({
            "pools": self.pools,
            "pools_outside_the_window": self.outside,
            "entries": self.entries,
            "now": now,
            "then": self.then.to_json(),
            "newly_out": self.newly_out,
            "no_longer_out": self.no_longer_out,
            "left_out": {"refunds": refunds, "purchases": purchases, "changes": changes},
        })
    }

    fn print(&self) {
        let mut table = table::new(["credits", "now", "then"]);
        let (now, then) = (&self.now.figures, &self.then.figures);
        let mut credits = |name: &str, of: fn(&Figures) -> SignedCredits| {
            table.add_row([name.to_owned(), of(now).to_string(), of(then).to_string()]);
        };
        credits("granted", |it| it.granted);
        credits("lapsed", |it| it.lapsed);
        credits("spent", Figures::spent);
        credits("- monthly", |it| it.monthly);
        credits("- add-on", |it| it.addon);
        credits("- overdraft", |it| it.overdraft);
        credits("bought", |it| it.bought);
        let counts = [
            ("pools", self.pools.to_string(), self.pools.to_string()),
            (
                "pools that ran out",
                self.now.pools_out.to_string(),
                self.then.pools_out.to_string(),
            ),
            (
                "how often",
                self.now.outages.to_string(),
                self.then.outages.to_string(),
            ),
            (
                "debits refused",
                "not known".to_owned(),
                then.refused.to_string(),
            ),
            (
                "credits not served",
                "not known".to_owned(),
                then.not_served.to_string(),
            ),
        ];
        for (name, now, then) in counts {
            table.add_row([name.to_owned(), now, then]);
        }
        table::align_right(&mut table, 1..3);
        println!("{table}\n");
    }
}

impl Side {
    fn to_json(self) -> Value {
        let figures = &self.figures;
        json!({
            "granted": figures.granted,
            "lapsed": figures.lapsed,
            "spent": figures.spent(),
            "monthly": figures.monthly,
            "addon": figures.addon,
            "overdraft": figures.overdraft,
            "bought": figures.bought,
            "pools_out": self.pools_out,
            "outages": self.outages,
            "refused": figures.refused,
            "not_served": figures.not_served,
            "short": figures.short(),
        })
    }
}

fn print_pools(what: &str, count: u64, worst: &Worst) {
    if count == 0 {
        println!("No pool {what}.\n");
        return;
    }
    println!("{count} pools {what}; the worst:\n");
    let mut table = table::new([
        "pool", "plan", "first", "cycle", "short", "refused", "times", "now",
    ]);
    for row in worst.rows() {
        let Rehearsed { now, then, .. } = &row.rehearsed;
        let shown = if then.ran_out() { then } else { now };
        let first = shown.first_outage;
        let stamp = |at: Option<Time>| at.map(|at| Stamp(at).to_string()).unwrap_or_default();
        table.add_row([
            row.name.to_string(),
            row.rehearsed.plan.to_string(),
            stamp(first.map(|first| first.at)),
            stamp(first.map(|first| first.cycle_start)),
            shown.figures.short().to_string(),
            shown.figures.refused.to_string(),
            shown.outages.to_string(),
            if now.ran_out() { "ran out" } else { "did not" }.to_owned(),
        ]);
    }
    table::align_right(&mut table, 4..7);
    println!("{table}\n");
}

impl Row {
    fn to_json(&self) -> Value {
        let Rehearsed {
            plan, now, then, ..
        } = &self.rehearsed;
        let first = |tally: &Tally| {
            tally.first_outage.map(
                |first| json!({"at": Stamp(first.at), "cycle_start": Stamp(first.cycle_start)}),
            )
        };
        json!({
            "tenant": self.tenant,
            "pool": self.name,
            "plan": plan.as_str(),
            "first": first(then),
            "short": then.figures.short(),
            "refused": then.figures.refused,
            "not_served": then.figures.not_served,
            "overdraft": then.figures.overdrawn,
            "outages": then.outages,
            "ran_out_now": now.ran_out(),
            "first_now": first(now),
            "short_now": now.figures.short(),
        })
    }

    /// In the order of [`CSV_HEADER`].
    fn fields(&self) -> Vec<String> {
        let Rehearsed {
            plan,
            now,
            then,
            left_out,
            ..
        } = &self.rehearsed;
        let stamp = |at: Option<Time>| at.map(|at| Stamp(at).to_string()).unwrap_or_default();
        let first = then.first_outage;
        let mut fields = vec![
            self.tenant.to_string(),
            self.name.to_string(),
            plan.to_string(),
            then.ran_out().to_string(),
            now.ran_out().to_string(),
            stamp(first.map(|first| first.at)),
            stamp(first.map(|first| first.cycle_start)),
            then.figures.short().to_string(),
            then.figures.refused.to_string(),
            then.figures.not_served.to_string(),
            now.outages.to_string(),
            then.outages.to_string(),
            stamp(now.first_outage.map(|first| first.at)),
            now.figures.short().to_string(),
        ];
        let pairs: [fn(&Figures) -> SignedCredits; 6] = [
            |it| it.granted,
            |it| it.lapsed,
            |it| it.monthly,
            |it| it.addon,
            |it| it.overdraft,
            |it| it.bought,
        ];
        for of in pairs {
            fields.extend([of(&now.figures).to_string(), of(&then.figures).to_string()]);
        }
        let left_out = left_out.refunds + left_out.purchases + left_out.changes;
        fields.push(left_out.to_string());
        fields
    }
}
