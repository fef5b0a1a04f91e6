//! A debit explained: every price, every way its credits can have come, refunds, and the proof.

use chrono::TimeDelta;
use credit_ledger::ledger::{Attribution, Capture, Command, Credits, Mode, NewHold, Refund};
use serde_json::{Value, json};

use crate::support::TestApp;

async fn explained(app: &TestApp, id: &Value) -> Value {
    let id = id.as_str().expect("an id");
    let path = format!("/v1/pools/workspace:w/debits/{id}/explain");
    app.get(&path).send().await.expect(200).body
}

async fn spend(app: &TestApp, body: Value) -> Value {
    let path = "/v1/pools/workspace:w/debits";
    app.post(path).json(&body).send().await.expect(201).body
}

async fn on_plan(plan: &str) -> TestApp {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": plan}))
        .await
        .expect(201);
    app
}

async fn buy(app: &TestApp) {
    let buy = json!({"credits": 100, "payment_reference": "pi_1"});
    let path = "/v1/pools/workspace:w/purchases";
    app.post(path).json(&buy).send().await.expect(201);
}

fn says(explained: &Value, what: &str) -> bool {
    let sentences = explained["sentences"].as_array().expect("sentences");
    sentences
        .iter()
        .any(|said| said.as_str().is_some_and(|said| said.contains(what)))
}

#[track_caller]
fn assert_says(explained: &Value, what: &str) {
    assert!(says(explained, what), "{what}: {}", explained["sentences"]);
}

/// The bucket, the credits, whether from a hold, whether ended.
fn drawn(explained: &Value) -> Vec<(String, i64, bool, bool)> {
    let parts = explained["drawn"].as_array().expect("parts").iter();
    let part = |part: &Value| {
        let bucket = part["bucket"].as_str().expect("a bucket").to_owned();
        let is = |name: &str| part[name].as_bool().expect("a flag");
        let credits = part["credits"].as_i64().expect("credits");
        assert!(part["why"].as_str().is_some_and(|why| !why.is_empty()));
        (bucket, credits, is("from_hold"), is("ended"))
    };
    parts.map(part).collect()
}

fn anew(bucket: &str, credits: i64) -> (String, i64, bool, bool) {
    (bucket.to_owned(), credits, false, false)
}

#[tokio::test]
async fn a_debit_tells_what_it_was_and_where_every_credit_came_from() {
    let app = on_plan("pro").await;
    buy(&app).await;
    let body = json!({
        "credits": 950, "mode": "settle", "operation": "app_generation", "user_id": "u-1",
        "workspace_id": "w-9", "run_id": "r-5", "model": "m-1",
    });
    let debit = spend(&app, body).await;
    let told = explained(&app, &debit["id"]).await;
    assert_eq!(told["debit"], debit);
    let parts = [
        anew("monthly", 800),
        anew("addon", 100),
        anew("overdraft", 50),
    ];
    assert_eq!(drawn(&told), parts);
    let price = json!({
        "source": "named", "credits": 950, "requested": null, "operation": "app_generation",
        "operation_name": told["price"]["operation_name"], "estimate": 100,
    });
    assert_eq!(told["price"], price);
    assert_eq!(told["refunds"], json!([]));
    assert_eq!(told["balance_before"]["available"], 900);
    assert_eq!(told["balance_after"], debit["balance"]);
    let page = "/v1/pools/workspace:w/transactions?limit=2";
    let page = app.get(page).send().await.expect(200).body;
    assert_eq!(told["hash"], page["data"][0]["hash"]);
    assert_eq!(told["previous_hash"], page["data"][1]["hash"]);
    for what in [
        "950 credits left the pool workspace:w",
        "(app_generation), by user u-1, in workspace w-9, in run r-5, with model m-1",
        "named by the request: 950 credits",
        "On average this operation takes 100 credits",
        "800 credits came from the monthly bucket",
        "100 credits came from the add-on bucket",
        "50 credits came from beyond both buckets",
        "Before it, the pool had 800 monthly and 100 add-on credits to spend.",
        "After it, the pool had 0 monthly and 0 add-on credits to spend, and owed 50.",
        "booked whatever the pool had",
        "Nothing of it was refunded so far",
        told["hash"].as_str().expect("a hash"),
    ] {
        assert_says(&told, what);
    }
}

#[tokio::test]
async fn every_price_says_who_named_it() {
    let app = on_plan("pro").await;
    let operation = json!({"name": "Made up", "estimate": 9, "fixed": 3});
    app.put("/v1/operations/made_up")
        .json(&operation)
        .send()
        .await
        .expect(201);
    let fixed = spend(&app, json!({"operation": "made_up"})).await;
    let told = explained(&app, &fixed["id"]).await;
    assert_eq!(told["price"]["source"], "fixed");
    assert_eq!(told["price"]["operation_name"], "Made up");
    assert_says(
        &told,
        "fixed by the rate card, whatever the work takes: 3 credits",
    );
    let rounded = spend(&app, json!({"credits": 1.5, "round": "up"})).await;
    let told = explained(&app, &rounded["id"]).await;
    assert_eq!(
        (&told["price"]["requested"], &told["price"]["credits"]),
        (&json!(1.5), &json!(2))
    );
    assert_eq!(told["price"]["operation_name"], Value::Null);
    assert_says(&told, "named by the request: 1.5 credits");
    assert_says(&told, "rounded to 2 credits");
    let even = spend(&app, json!({"credits": 1, "round": "up"})).await;
    let told = explained(&app, &even["id"]).await;
    assert_says(&told, "nothing to round");
    assert_says(&told, "1 credit left the pool");

    let app = on_plan("legacy_pro").await;
    let legacy = spend(&app, json!({"operation": "sql_generation"})).await;
    let told = explained(&app, &legacy["id"]).await;
    assert_eq!(told["price"]["source"], "legacy_fixed");
    assert_says(&told, "for plans with the old prices: 3 credits");
}

#[tokio::test]
async fn a_capture_tells_of_its_hold_also_when_its_cycle_is_over_or_it_came_too_late() {
    for (days, name) in [(0, "live"), (29, "ended"), (80, "late")] {
        let app = on_plan("pro").await;
        buy(&app).await;
        let hold = NewHold {
            credits: Some(Credits::whole(850)),
            round: None,
            partial: false,
            expires_in_seconds: 86_400 * 60,
            attribution: Attribution::default(),
            metadata: None,
        };
        let hold = app
            .decide("workspace:w", Command::Hold(Box::new(hold)))
            .await;
        app.pass(TimeDelta::days(days));
        let capture = Capture {
            hold: hold.id(),
            credits: Credits::whole(820),
            round: None,
            mode: Mode::Settle,
        };
        let capture = Command::Capture(Box::new(capture));
        let capture = app.decide("workspace:w", capture).await;
        let told = explained(&app, &json!(capture.id())).await;
        let held = |bucket: &str, credits, ended| (bucket.to_owned(), credits, true, ended);
        let (parts, said) = match name {
            "live" => (
                vec![held("monthly", 800, false), held("addon", 20, false)],
                "had reserved 850 credits for it; the other 30 were given up",
            ),
            "ended" => (
                vec![held("monthly", 800, true), held("addon", 20, false)],
                "whose cycle is over",
            ),
            _ => (
                vec![anew("monthly", 800), anew("addon", 20)],
                "which had expired by then",
            ),
        };
        assert_eq!(drawn(&told), parts, "{name}");
        assert_says(&told, said);
        assert_says(&told, "named by the capture: 820 credits");
    }
}

#[tokio::test]
async fn refunds_are_told_with_where_the_credits_went() {
    let app = on_plan("pro").await;
    buy(&app).await;
    let debit = spend(&app, json!({"credits": 950, "mode": "settle"})).await;
    let id: uuid::Uuid = debit["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("an id");
    let refund = |credits: u32| {
        Command::Refund(Box::new(Refund {
            debit: id.into(),
            credits: Some(Credits::whole(credits)),
            reason: "it failed".parse().ok(),
        }))
    };
    app.decide("workspace:w", refund(200)).await;
    app.pass(TimeDelta::days(40));
    app.decide("workspace:w", refund(100)).await;
    let told = explained(&app, &debit["id"]).await;
    let refunds = told["refunds"].as_array().expect("refunds");
    let figures: Vec<_> = refunds
        .iter()
        .map(|refund| {
            ["credits", "overdraft", "addon", "monthly", "lapsed"]
                .map(|name| refund[name].as_i64().expect("a figure"))
        })
        .collect();
    assert_eq!(figures, [[200, 50, 100, 50, 0], [100, 0, 0, 0, 100]]);
    assert_eq!(refunds[0]["reason"], "it failed");
    assert_says(
        &told,
        "200 credits of it were refunded (\"it failed\"): 50 lowered what is owed",
    );
    assert_says(&told, "100 lapsed");
}

#[tokio::test]
async fn what_is_no_debit_of_the_pool_cannot_be_explained() {
    let app = on_plan("pro").await;
    let debit = spend(&app, json!({"credits": 1})).await;
    let id = debit["id"].as_str().expect("an id");
    app.put_pool("workspace:x", json!({"plan": "pro"}))
        .await
        .expect(201);
    let page = app.get("/v1/pools/workspace:w/transactions").send().await;
    let opening = page.body["data"][1]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    for path in [
        format!("workspace:x/debits/{id}"),
        format!("workspace:y/debits/{id}"),
        format!("workspace:w/debits/{opening}"),
        "workspace:w/debits/0190a000-0000-7000-8000-000000000000".to_owned(),
        "workspace:w/debits/nothing".to_owned(),
    ] {
        let reply = app.get(&format!("/v1/pools/{path}/explain")).send().await;
        reply.refused(404, "not_found");
    }
}
