//! The past: balances as they were, and that everything that is read back agrees.

use chrono::TimeDelta;
use credit_ledger::ledger::{Attribution, Command, Credits, EntryId, NewHold, Refund, Release};
use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

async fn at(app: &TestApp, instant: &str) -> Reply {
    let path = format!("/v1/pools/workspace:w/balance?at={instant}");
    app.get(&path).send().await
}

/// The version and what was available then.
async fn then(app: &TestApp, instant: &str) -> (i64, i64) {
    let balance = at(app, instant).await.expect(200).body;
    assert_eq!(balance["as_of"], instant);
    let figure = |name: &str| balance[name].as_i64().expect("a figure");
    (figure("version"), figure("available"))
}

#[tokio::test]
async fn a_balance_of_the_past_is_that_after_the_last_entry_by_then() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    app.pass(TimeDelta::days(1));
    for credits in [1, 2] {
        app.debit("workspace:w", json!(credits)).await.expect(201);
    }
    app.pass(TimeDelta::days(60));
    for (instant, expected) in [
        ("2026-01-31T10:00:00.000Z", (1, 800)),
        ("2026-02-01T09:59:59.999Z", (1, 800)),
        ("2026-02-01T10:00:00.000Z", (3, 797)),
        ("2026-02-28T09:59:59.999Z", (3, 797)),
        ("2026-02-28T10:00:00.000Z", (4, 800)),
        ("2026-04-02T10:00:00.000Z", (5, 800)),
    ] {
        assert_eq!(then(&app, instant).await, expected, "{instant}");
    }
    let now = at(&app, "2026-04-02T10:00:00.000Z").await.body;
    assert_eq!(now, app.balance("workspace:w").await);
    assert_eq!(app.entries().await, 5, "what was due is booked");

    let future = at(&app, "2026-04-02T10:00:00.001Z").await;
    assert_eq!(
        future.refused(422, "validation_failed").body["errors"][0]["field"],
        "at"
    );
    let before = at(&app, "2026-01-31T09:59:59.999Z").await;
    before.refused(404, "pool_not_found");
    at(&app, "then").await.refused(422, "validation_failed");
    let unknown = "/v1/pools/workspace:x/balance?at=2026-01-31T10:00:00.000Z";
    app.get(unknown).send().await.refused(404, "pool_not_found");
}

#[tokio::test]
async fn a_pool_that_only_a_write_would_make_has_no_past() {
    let app = TestApp::start().await;
    let path = format!("/v1/tenants/{}", app.tenant);
    let settings =
        json!({"settings": {"auto_provision": {"workspace": "free", "instance": "basic"}}});
    app.operator
        .call(reqwest::Method::PATCH, &path)
        .json(&settings)
        .send()
        .await
        .expect(200);
    assert_eq!(app.balance("workspace:w").await["version"], 0);
    at(&app, "2026-01-31T10:00:00.000Z")
        .await
        .refused(404, "pool_not_found");
}

#[tokio::test]
async fn a_closed_pool_stays_as_it_was_when_it_was_closed() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    app.pass(TimeDelta::days(1));
    app.delete("/v1/pools/workspace:w").send().await.expect(200);
    app.pass(TimeDelta::days(90));
    let closed = at(&app, "2026-04-02T10:00:00.000Z").await.expect(200).body;
    assert_eq!(closed, app.balance("workspace:w").await);
    assert_eq!(closed["as_of"], "2026-02-01T10:00:00.000Z");
    let before = at(&app, "2026-02-01T09:00:00.000Z").await.expect(200).body;
    assert_eq!(
        (&before["as_of"], &before["version"]),
        (&json!("2026-02-01T09:00:00.000Z"), &json!(1))
    );
}

#[tokio::test]
async fn on_a_test_clock_the_future_begins_where_the_clock_stands() {
    let app = TestApp::sandbox().await;
    let clock = json!({"now": "2030-01-01T00:00:00Z"});
    let clock = app.post("/v1/test-clocks").json(&clock).send().await;
    let body = json!({"plan": "pro", "test_clock": clock.expect(201).body["id"]});
    app.put_pool("workspace:w", body).await.expect(201);
    assert_eq!(then(&app, "2030-01-01T00:00:00.000Z").await, (1, 800));
    at(&app, "2030-01-01T00:00:00.001Z")
        .await
        .refused(422, "validation_failed");
    let before: Value = at(&app, "2026-01-31T10:00:00.000Z").await.body;
    assert_eq!(before["code"], "pool_not_found");
}

/// Numbers that look random and are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Something that may happen to a pool; what is refused does not matter.
async fn something(app: &TestApp, chance: &mut Chance, step: u64) {
    let pool = "/v1/pools/workspace:w";
    let post = async |path: &str, body: Value| {
        let reply = app.post(&format!("{pool}/{path}")).json(&body).send().await;
        assert!(reply.status < 500, "{}", reply.text);
    };
    let credits = chance.below(400) + 1;
    match chance.below(9) {
        0..=2 => {
            let mode = ["strict", "settle"][usize::from(chance.below(2) == 0)];
            let user = format!("u-{}", chance.below(3));
            let body = json!({"credits": credits, "mode": mode, "user_id": user});
            post("debits", body).await;
        }
        3 => {
            let reference = format!("pi_{step}");
            let body = json!({"credits": 200, "payment_reference": reference});
            post("purchases", body).await;
        }
        4 => {
            let builders = chance.below(4) + 1;
            let reply = app
                .put_pool("workspace:w", json!({"builders": builders}))
                .await;
            assert!(reply.status < 500, "{}", reply.text);
        }
        5 => {
            let sign = if chance.below(2) == 0 { 1 } else { -1 };
            let credits = i64::try_from(credits).expect("a small number") * sign;
            let body = json!({"bucket": "addon", "credits": credits, "reason": "why not"});
            post("adjustments", body).await;
        }
        6 => {
            let hold = NewHold {
                credits: Credits::from_units(i64::try_from(credits).expect("small") * 100),
                round: None,
                partial: true,
                expires_in_seconds: 86_400 * 20,
                attribution: Attribution::default(),
                metadata: None,
            };
            app.try_decide("workspace:w", Command::Hold(Box::new(hold)))
                .await;
        }
        kind => {
            let wanted = if kind == 7 { "debit" } else { "hold" };
            let path = format!("{pool}/transactions?kind={wanted}&limit=3");
            let page = app.get(&path).send().await.expect(200).body;
            let rows = page["data"].as_array().expect("a page");
            let Some(id) = rows.last().and_then(|entry| entry["id"].as_str()) else {
                return;
            };
            let id = EntryId::from(id.parse::<uuid::Uuid>().expect("an id"));
            let command = match kind {
                7 => Command::Refund(Box::new(Refund {
                    debit: id,
                    credits: (credits > 200).then(|| Credits::whole(5)),
                    reason: None,
                })),
                _ => Command::Release(Release { hold: id }),
            };
            app.try_decide("workspace:w", command).await;
        }
    }
}

async fn expect_balances_as_they_were(app: &TestApp, journal: &[Value]) {
    for (place, entry) in journal.iter().enumerate() {
        let instant = entry["at"].as_str().expect("a time");
        let mut expected = journal[place..]
            .iter()
            .take_while(|later| later["at"] == entry["at"])
            .last()
            .expect("at least itself")["balance_after"]
            .clone();
        let said = at(app, instant).await.expect(200).body;
        assert_eq!(said["as_of"], instant);
        expected["as_of"] = said["as_of"].clone();
        assert_eq!(said, expected, "{instant}");
    }
}

/// Adds a cycle's figures of `/usage` up, and compares statements with their neighbours.
async fn expect_statements_that_meet(app: &TestApp) {
    let read = async |query: String| {
        let path = format!("/v1/pools/workspace:w/statement{query}");
        app.get(&path).send().await.expect(200).body
    };
    let mut later = read(String::new()).await;
    while let Some(start) = later["previous_cycle_start"].as_str() {
        let earlier = read(format!("?cycle_start={start}")).await;
        assert_eq!(earlier["closing"], later["opening"], "{start}");
        later = earlier;
    }
    for bucket in ["monthly", "addon", "held_ended", "overdraft"] {
        assert_eq!(
            later["opening"][bucket], 0,
            "nothing before the first cycle"
        );
    }
}

#[tokio::test]
async fn whatever_happens_everything_that_is_read_back_agrees() {
    for seed in [7, 19, 4_711] {
        let app = TestApp::with_blocks_of(4).await;
        let mut chance = Chance(seed);
        app.put_pool("workspace:w", json!({"plan": "pro"}))
            .await
            .expect(201);
        for step in 0..70 {
            something(&app, &mut chance, step).await;
            if chance.below(3) == 0 {
                let hours = i64::try_from(chance.below(140)).expect("a small number");
                app.pass(TimeDelta::hours(hours));
            }
        }
        let journal = app.journal("workspace:w").await;
        expect_balances_as_they_were(&app, &journal).await;
        expect_statements_that_meet(&app).await;
        let spent = |account: &str| -> i64 {
            let legs = journal
                .iter()
                .flat_map(|entry| entry["transfers"].as_array().expect("transfers"));
            let side = |leg: &Value, side: &str| leg[side] == account;
            let sign = |leg: &Value| i64::from(side(leg, "to")) - i64::from(side(leg, "from"));
            legs.map(|leg| sign(leg) * leg["credits"].as_i64().expect("credits"))
                .sum()
        };
        let usage = "/v1/pools/workspace:w/usage?from=2026-01-01T00:00:00Z&group_by=day";
        let usage = app.get(usage).send().await.expect(200).body;
        assert_eq!(usage["pool"]["total"], spent("consumed"), "{seed}");
        app.verify().await;
    }
}
