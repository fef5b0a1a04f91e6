//! Who is in the story: customers of each kind, how their people work, and what happens to them.

use hyper::Method;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::story::DAYS;
use crate::http::time::Stamp;

/// The pool that ends with a debt.
pub const OVERDRAWN: &str = "workspace:globex";

/// Operations of the rate card, and what they cost from and to.
const OPERATIONS: [(&str, [u32; 2]); 7] = [
    ("docs_assistant", [2, 10]),
    ("sql_generation", [2, 9]),
    ("debug_autofix", [4, 20]),
    ("modify_query", [8, 50]),
    ("modify_layout", [10, 80]),
    ("add_feature", [20, 160]),
    ("app_generation", [8, 240]),
];
/// So many of them, from the first, are small.
const SMALL_OPERATIONS: usize = 3;

/// A customer.
pub struct Pool {
    /// The pool's name.
    pub name: &'static str,
    /// What there is to see.
    pub shows: &'static str,
    /// The PUT that makes it.
    pub terms: Value,
    /// On which day.
    pub since: i64,
    /// Debits on a working day, at most.
    pub pace: u32,
    users: &'static [&'static str],
    habit: Habit,
}

/// What the people of a customer do all day.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Whatever there is.
    All,
    /// The same at the prices of their plan.
    AllAtFixedPrices,
    /// Only what costs little.
    Small,
}

/// Something that happens once.
pub struct Event {
    /// When.
    pub day: i64,
    /// How the API is asked for it.
    pub method: Method,
    /// Where.
    pub path: &'static str,
    /// With what.
    pub body: Value,
}

impl Pool {
    /// A debit that may happen on a day, told apart by a number.
    pub fn debit(&self, day: i64, number: usize, random: &mut StdRng) -> Value {
        let choice = match self.habit {
            Habit::All | Habit::AllAtFixedPrices => OPERATIONS.len(),
            Habit::Small => SMALL_OPERATIONS,
        };
        let (operation, [from, to]) = OPERATIONS[random.random_range(0..choice)];
        let mut item = json!({
            "pool": self.name,
            "idempotency_key": format!("story-{day}-{number}"),
            "operation": operation,
            "user_id": self.users[random.random_range(0..self.users.len())],
            "run_id": format!("run-{day}-{number}"),
            "model": if to > 100 { "large" } else { "small" },
            // Building an app is paid for when it is done, the rest is asked for first.
            "mode": if operation == "app_generation" { "settle" } else { "strict" },
        });
        if self.habit != Habit::AllAtFixedPrices {
            item["credits"] = random.random_range(from..=to).into();
        }
        item
    }

    fn new(
        (name, shows): (&'static str, &'static str),
        terms: Value,
        users: &'static [&'static str],
        (pace, habit): (u32, Habit),
    ) -> Self {
        Self {
            name,
            shows,
            terms,
            since: 0,
            pace,
            users,
            habit,
        }
    }
}

/// All customers. `day` tells when a day of the story is.
pub fn pools(day: impl Fn(i64) -> Stamp) -> Vec<Pool> {
    let paid = |until| json!({"type": "paid", "expires_at": day(until)});
    let mut pools = workspaces(&paid(365));
    pools.extend(instances(&paid(120)));
    pools
}

fn workspaces(license: &Value) -> Vec<Pool> {
    vec![
        Pool::new(
            ("workspace:sparrow", "free: 100 a month"),
            json!({"plan": "free"}),
            &["mara"],
            (2, Habit::Small),
        ),
        Pool::new(
            (
                "workspace:nordwind",
                "builders bought in between: the cycle began anew",
            ),
            json!({"plan": "pro", "builders": 5, "term": "annual", "license": license}),
            &["ada", "ben", "chen", "dora"],
            (4, Habit::All),
        ),
        Pool::new(
            ("workspace:atlas", "fewer builders from the next renewal on"),
            json!({"plan": "team", "builders": 6, "license": license}),
            &["emil", "fay", "gus"],
            (6, Habit::All),
        ),
        Pool::new(
            (OVERDRAWN, "overdrawn: the next grant repays it"),
            json!({"plan": "enterprise", "monthly_allowance": 10_000, "license": license}),
            &["hank", "ines", "jo", "kim", "lou"],
            (8, Habit::All),
        ),
        Pool::new(
            (
                "workspace:orbit",
                "add-on credits bought, and some given by hand",
            ),
            json!({"plan": "pro", "builders": 2, "license": license}),
            &["nia", "otto"],
            (4, Habit::All),
        ),
        Pool::new(
            ("workspace:heritage", "an old plan with fixed prices"),
            json!({"plan": "legacy_pro", "builders": 3}),
            &["pia", "quin"],
            (3, Habit::AllAtFixedPrices),
        ),
    ]
}

fn instances(license: &Value) -> Vec<Pool> {
    let trial = Pool::new(
        ("instance:harbor", "self-hosted, in its trial"),
        json!({"plan": "trial", "license": {"type": "trial"}}),
        &["rosa"],
        (3, Habit::Small),
    );
    let ended = Pool::new(
        ("instance:mill", "self-hosted, its licence has ended"),
        json!({"plan": "team", "builders": 2, "license": license}),
        &["sam", "tess"],
        (3, Habit::Small),
    );
    let since = DAYS - 5;
    vec![Pool { since, ..trial }, ended]
}

/// What happens, in no order.
pub fn events() -> Vec<Event> {
    let event = |day, method, path, body| Event {
        day,
        method,
        path,
        body,
    };
    let purchase = |day, credits: u32, user: &str| {
        let body = json!({
            "credits": credits,
            "payment_reference": format!("pi_demo_{day}"),
            "amount_cents": credits,
            "currency": "usd",
            "user_id": user,
        });
        event(
            day,
            Method::POST,
            "/v1/pools/workspace:orbit/purchases",
            body,
        )
    };
    let builders =
        |day, path, builders: u32| event(day, Method::PUT, path, json!({"builders": builders}));
    let goodwill = json!({"bucket": "addon", "credits": 50, "reason": "sorry for the outage"});
    vec![
        purchase(20, 500, "nia"),
        purchase(75, 1_000, "otto"),
        purchase(140, 1_500, "nia"),
        event(
            100,
            Method::POST,
            "/v1/pools/workspace:orbit/adjustments",
            goodwill,
        ),
        builders(64, "/v1/pools/workspace:nordwind", 8),
        builders(DAYS - 2, "/v1/pools/workspace:atlas", 3),
    ]
}
