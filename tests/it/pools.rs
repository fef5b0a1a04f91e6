//! Pools over HTTP: PUT, GET, DELETE, lists, many balances, authorize.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::TestApp;

const POOL: &str = "/v1/pools/workspace:w";

async fn change(app: &TestApp, body: Value) -> Value {
    app.put_pool("workspace:w", body).await.expect(200).body["change"].clone()
}

#[tokio::test]
async fn a_put_makes_a_pool_and_answers_all_of_it() {
    let app = TestApp::start().await;
    let body = json!({
        "plan": "flexible", "builders": 5, "term": "annual", "metadata": {"crm": "77"},
        "license": {"type": "paid", "expires_at": "2027-01-31", "limits": {"users": 50}},
    });
    let made = app.put_pool("workspace:w", body).await.expect(201).body;
    let read = app.get(POOL).send().await.expect(200).body;

    let license = json!({
        "type": "paid", "expires_at": "2027-01-31T23:59:59.999Z", "grace_until": null,
        "limits": {"users": 50, "builders": null, "end_users": null}, "status": "active",
    });
    let mut requested_license = license.clone();
    requested_license
        .as_object_mut()
        .expect("a licence")
        .remove("status");
    let mut expected = json!({
        "pool": "workspace:w", "plan": "pro", "builders": 5, "monthly_allowance": null,
        "denomination": 1, "billing_anchor": "2026-01-31T10:00:00.000Z", "term": "annual",
        "requested": {
            "plan": "pro", "builders": 5, "monthly_allowance": null,
            "billing_anchor": "2026-01-31T10:00:00.000Z", "term": "annual",
            "license": requested_license, "test_clock": null, "metadata": {"crm": "77"},
        },
        "pending": null,
        "cycle": {
            "number": 0, "start": "2026-01-31T10:00:00.000Z", "end": "2026-02-28T10:00:00.000Z",
            "anchor": "2026-01-31T10:00:00.000Z",
        },
        "next_grant": {
            "at": "2026-02-28T10:00:00.000Z", "credits": 4000, "overdraft_repaid": 0, "net": 4000,
        },
        "license": license, "status": "active", "test_clock": null, "metadata": {"crm": "77"},
        "created_at": "2026-01-31T10:00:00.000Z", "closed_at": null,
        "balance": {
            "pool": "workspace:w", "as_of": "2026-01-31T10:00:00.000Z", "version": 1,
            "available": 4000, "held": 0, "overdraft": 0,
            "monthly": {
                "granted": 4000, "settled": 4000, "held": 0, "available": 4000, "used": 0,
                "cycle_start": "2026-01-31T10:00:00.000Z",
                "renews_at": "2026-02-28T10:00:00.000Z", "expires_at": "2026-02-28T10:00:00.000Z",
            },
            "addon": {
                "granted": 0, "settled": 0, "held": 0, "available": 0, "expires_at": null,
            },
        },
    });
    assert_eq!(read, expected);
    expected["change"] = json!("created");
    assert_eq!(made, expected);
}

#[tokio::test]
async fn a_pool_without_a_licence_says_so() {
    let app = TestApp::start().await;
    let made = app
        .put_pool("instance:i", json!({"plan": "basic"}))
        .await
        .expect(201)
        .body;
    let none = json!({
        "type": null, "expires_at": null, "grace_until": null, "limits": null, "status": "none",
    });
    assert_eq!(made["license"], none);
    assert_eq!(
        (&made["requested"]["license"], &made["metadata"]),
        (&Value::Null, &json!({}))
    );
}

#[tokio::test]
async fn a_put_says_what_it_changed_and_what_waits() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro", "builders": 2}))
        .await
        .expect(201);
    assert_eq!(
        change(&app, json!({"plan": "pro", "builders": 2})).await,
        "none"
    );
    assert_eq!(change(&app, json!({"metadata": {}})).await, "none");
    assert_eq!(change(&app, json!({"term": "annual"})).await, "equal");
    assert_eq!(change(&app, json!({"builders": 1})).await, "decrease");
    let waiting = app.get(POOL).send().await.expect(200).body;
    let pending = json!({
        "plan": "pro", "builders": 1, "monthly_allowance": null, "at": "2026-02-28T10:00:00.000Z",
    });
    assert_eq!(
        (&waiting["pending"], &waiting["builders"]),
        (&pending, &json!(2))
    );
    assert_eq!(waiting["next_grant"]["credits"], 800);
    app.pass(TimeDelta::hours(1));
    assert_eq!(change(&app, json!({"builders": 3})).await, "increase");
    let risen = app.get(POOL).send().await.expect(200).body;
    assert_eq!(risen["cycle"]["anchor"], "2026-01-31T11:00:00.000Z");
    assert_eq!(risen["billing_anchor"], "2026-01-31T10:00:00.000Z");
    app.verify().await;
}

#[tokio::test]
async fn a_dry_run_answers_as_the_put_would_and_books_nothing() {
    let app = TestApp::start().await;
    let dry = app
        .put(&format!("{POOL}?dry_run=true"))
        .json(&json!({"plan": "pro"}));
    let dry = dry.send().await.expect(200).body;
    assert_eq!(
        (&dry["change"], &dry["balance"]["available"]),
        (&json!("created"), &json!(800))
    );
    app.get(POOL).send().await.refused(404, "pool_not_found");

    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    let dry = app
        .put(&format!("{POOL}?dry_run=true"))
        .json(&json!({"builders": 4}));
    let dry = dry.send().await.expect(200).body;
    assert_eq!(
        (&dry["change"], &dry["balance"]["available"]),
        (&json!("increase"), &json!(3200))
    );
    assert_eq!(app.balance("workspace:w").await["available"], 800);
    assert_eq!(app.entries().await, 1);
}

#[tokio::test]
async fn a_put_that_cannot_be_is_refused_and_writes_nothing() {
    let app = TestApp::start().await;
    let rows = [
        (json!({}), "plan"),
        (json!({"plan": null}), "plan"),
        (json!({"plan": "gold"}), "plan"),
        (json!({"plan": "Gold!"}), "plan"),
        (json!({"plan": "pro", "builders": 0}), "builders"),
        (json!({"plan": "pro", "builders": 1.5}), "builders"),
        (
            json!({"plan": "pro", "builders": "unlimited"}),
            "monthly_allowance",
        ),
        (
            json!({"plan": "pro", "monthly_allowance": 100}),
            "monthly_allowance",
        ),
        (json!({"plan": "enterprise"}), "monthly_allowance"),
        (
            json!({"plan": "enterprise", "monthly_allowance": 0}),
            "monthly_allowance",
        ),
        (json!({"plan": "pro", "seats": 2}), "seats"),
        (
            json!({"plan": "pro", "billing_anchor": "2026-01-31"}),
            "billing_anchor",
        ),
        (
            json!({"plan": "pro", "license": {"type": "gold"}}),
            "license.type",
        ),
        (
            json!({"plan": "pro", "metadata": {"k": "x".repeat(5000)}}),
            "metadata",
        ),
    ];
    for (body, field) in rows {
        let reply = app.put_pool("workspace:w", body.clone()).await;
        let reply = reply.refused(422, "validation_failed");
        assert_eq!(reply.body["errors"][0]["field"], field, "{body}");
    }
    let clock = json!({"plan": "pro", "test_clock": "0190a000-0000-7000-8000-000000000000"});
    app.put_pool("workspace:w", clock)
        .await
        .refused(403, "sandbox_only");
    app.get(POOL).send().await.refused(404, "pool_not_found");
    assert_eq!(app.entries().await, 0);
}

#[tokio::test]
async fn anchor_and_clock_are_given_once() {
    let app = TestApp::sandbox().await;
    let now = json!({"now": "2030-05-05T00:00:00Z"});
    let clock = app
        .post("/v1/test-clocks")
        .json(&now)
        .send()
        .await
        .expect(201)
        .body;
    let body = json!({"plan": "pro", "test_clock": clock["id"]});
    let made = app
        .put_pool("workspace:w", body.clone())
        .await
        .expect(201)
        .body;
    assert_eq!(made["created_at"], "2030-05-05T00:00:00.000Z");
    assert_eq!(
        app.put_pool("workspace:w", body).await.expect(200).body["change"],
        "none"
    );
    let cleared = json!({"test_clock": null});
    app.put_pool("workspace:w", cleared)
        .await
        .refused(409, "test_clock_fixed");
    let unknown = json!({"test_clock": "0190a000-0000-7000-8000-000000000000"});
    let reply = app
        .put_pool("workspace:w", unknown)
        .await
        .refused(422, "validation_failed");
    assert_eq!(reply.body["errors"][0]["field"], "test_clock");
    let same = json!({"billing_anchor": "2030-05-05T02:00:00+02:00"});
    app.put_pool("workspace:w", same).await.expect(200);
    let other = json!({"billing_anchor": "2030-05-05T00:00:00.001Z"});
    app.put_pool("workspace:w", other)
        .await
        .refused(409, "billing_anchor_fixed");
}

#[tokio::test]
async fn a_closed_pool_is_frozen_and_readable() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    app.debit("workspace:w", json!(30)).await.expect(201);
    app.delete("/v1/pools/workspace:other")
        .send()
        .await
        .refused(404, "pool_not_found");

    let closed = app.delete(POOL).send().await.expect(200).body;
    assert_eq!(
        (&closed["status"], &closed["next_grant"]),
        (&json!("closed"), &Value::Null)
    );
    app.pass(TimeDelta::days(400));
    let mut again = app.delete(POOL).send().await.expect(200).body;
    again["balance"]["as_of"] = closed["balance"]["as_of"].clone();
    assert_eq!(again, closed);

    assert_eq!(app.balance("workspace:w").await["available"], 770);
    let entries = app
        .get(&format!("{POOL}/transactions"))
        .send()
        .await
        .expect(200)
        .body;
    assert_eq!(entries["data"][0]["kind"], "close");
    app.debit("workspace:w", json!(1))
        .await
        .refused(409, "pool_closed");
    app.put_pool("workspace:w", json!({"plan": "team"}))
        .await
        .refused(409, "pool_closed");
    app.post(&format!("{POOL}/authorize"))
        .json(&json!({}))
        .send()
        .await
        .refused(409, "pool_closed");
    app.verify().await;
}

/// Three pools made an hour apart: one with add-ons, one overdrawn, one closed.
async fn app_with_pools_that_differ() -> TestApp {
    let app = TestApp::start().await;
    for (name, body) in [
        ("workspace:one", json!({"plan": "pro"})),
        ("instance:two", json!({"plan": "basic"})),
        ("workspace:three", json!({"plan": "team"})),
    ] {
        app.put_pool(name, body).await.expect(201);
        app.pass(TimeDelta::hours(1));
    }
    let settle = json!({"credits": 150, "mode": "settle"});
    app.post("/v1/pools/instance:two/debits")
        .json(&settle)
        .send()
        .await
        .expect(201);
    let buy = json!({"credits": 500, "payment_reference": "pi_1"});
    app.post("/v1/pools/workspace:one/purchases")
        .json(&buy)
        .send()
        .await
        .expect(201);
    app.delete("/v1/pools/workspace:three")
        .send()
        .await
        .expect(200);
    app
}

#[tokio::test]
async fn lists_are_newest_first_and_filtered_by_what_is_true_now() {
    let app = app_with_pools_that_differ().await;
    let names = async |query: &str| {
        let page = app
            .get(&format!("/v1/pools{query}"))
            .send()
            .await
            .expect(200)
            .body;
        let data = page["data"].as_array().expect("a page").clone();
        let name = |pool: &Value| pool["pool"].as_str().expect("a name").to_owned();
        data.iter().map(name).collect::<Vec<_>>()
    };
    let (one, two, three) = ("workspace:one", "instance:two", "workspace:three");
    let rows: [(&str, &[&str]); 13] = [
        ("", &[three, two, one]),
        ("?q=O", &[three, two, one]),
        ("?q=ONE", &[one]),
        ("?plan=flexible", &[one]),
        ("?plan=gold", &[]),
        ("?status=closed", &[three]),
        ("?status=active", &[two, one]),
        ("?available_below=0", &[two]),
        ("?available_below=1300.01", &[two, one]),
        ("?overdraft=true", &[two]),
        ("?renews_before=2026-02-28T11:00:00Z", &[one]),
        ("?addon_expires_before=2027-02-01T00:00:00Z", &[one]),
        ("?addon_expires_before=2027-01-01T00:00:00Z", &[]),
    ];
    for (query, expected) in rows {
        assert_eq!(names(query).await, expected, "{query}");
    }
    for bad in [
        "?status=open",
        "?available_below=x",
        "?limit=0",
        "?size=1",
        "?cursor=00",
        "?q=%00",
    ] {
        app.get(&format!("/v1/pools{bad}"))
            .send()
            .await
            .refused(422, "validation_failed");
    }
    // A month later the overdraft is repaid, though nobody has looked at the pool since.
    app.pass(TimeDelta::days(40));
    assert!(names("?overdraft=true").await.is_empty());
    app.verify().await;
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let app = TestApp::start().await;
    for number in 0..5 {
        app.put_pool(&format!("workspace:{number}"), json!({"plan": "free"}))
            .await
            .expect(201);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app
            .get(&format!("/v1/pools?limit=2{cursor}"))
            .send()
            .await
            .expect(200)
            .body;
        let data = page["data"].as_array().expect("a page").clone();
        seen.extend(
            data.iter()
                .map(|pool| pool["pool"].as_str().expect("a name").to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((all, seen.len()), (5, 5));
}

#[tokio::test]
async fn many_balances_keep_their_order_and_name_what_is_not_there() {
    let app = TestApp::start().await;
    app.put_pool("workspace:a", json!({"plan": "free"}))
        .await
        .expect(201);
    app.put_pool("workspace:b", json!({"plan": "pro"}))
        .await
        .expect(201);
    let read = async |names: Value| {
        app.post("/v1/balances")
            .json(&json!({"pools": names}))
            .send()
            .await
    };
    let names = json!(["workspace:b", "workspace:x", "workspace:a", "workspace:b"]);
    let results = read(names).await.expect(200).body["results"].clone();
    let available = |place: usize| results[place]["balance"]["available"].clone();
    assert_eq!([available(0), available(2), available(3)], [800, 100, 800]);
    assert_eq!(
        (&results[1]["status"], &results[1]["pool"]),
        (&json!(404), &json!("workspace:x"))
    );
    assert_eq!(results[1]["error"]["code"], "pool_not_found");

    let bad = read(json!(["workspace:a", "nowhere", "a/b"]))
        .await
        .refused(422, "validation_failed");
    assert_eq!(bad.body["errors"][0]["field"], "pools[1]");
    assert_eq!(bad.body["errors"][1]["field"], "pools[2]");
    read(json!(vec!["workspace:a"; 201]))
        .await
        .refused(422, "validation_failed");
    assert_eq!(
        read(json!([])).await.expect(200).body,
        json!({"results": []})
    );
}

/// An app whose tenant makes workspaces, and no instances, when they are first written to.
async fn app_that_provisions() -> TestApp {
    let app = TestApp::start().await;
    let settings = json!({"settings": {"auto_provision": {"workspace": "free", "instance": null}}});
    let path = format!("/v1/tenants/{}", app.tenant);
    let patch = app
        .operator
        .call(reqwest::Method::PATCH, &path)
        .json(&settings);
    patch.send().await.expect(200);
    app
}

#[tokio::test]
async fn an_unknown_pool_of_an_auto_provisioning_tenant_reads_as_freshly_granted() {
    let app = app_that_provisions().await;
    let balance = app.balance("workspace:new").await;
    assert_eq!(
        (&balance["available"], &balance["version"]),
        (&json!(100), &json!(0))
    );
    let names = json!({"pools": ["workspace:new", "instance:new"]});
    let many = app
        .post("/v1/balances")
        .json(&names)
        .send()
        .await
        .expect(200)
        .body;
    assert_eq!(many["results"][0]["balance"], balance);
    assert_eq!(many["results"][1]["status"], 404);
    let ask = app
        .post("/v1/pools/workspace:new/authorize")
        .json(&json!({"credits": 101}));
    assert_eq!(
        ask.send().await.expect(200).body["code"],
        "insufficient_credits"
    );
    let tooljet = app
        .get("/api/ai/organizations/new/balance")
        .send()
        .await
        .expect(200)
        .body;
    assert_eq!(
        (&tooljet["balance"], &tooljet["version"]),
        (&json!(100), &json!(0))
    );
    let usage = app
        .get("/api/ai/organizations/new/usage")
        .send()
        .await
        .expect(200)
        .body;
    assert_eq!(usage["pool"]["total"], 0);
    assert_eq!(app.entries().await, 0, "reading wrote nothing");
    app.get("/v1/pools/workspace:new")
        .send()
        .await
        .refused(404, "pool_not_found");
    app.get("/v1/pools/workspace:new/transactions")
        .send()
        .await
        .refused(404, "pool_not_found");
    app.delete("/v1/pools/workspace:new")
        .send()
        .await
        .refused(404, "pool_not_found");

    app.debit("workspace:new", json!(101))
        .await
        .refused(402, "insufficient_credits");
    assert_eq!(app.entries().await, 0, "a refused write makes no pool");
    app.debit("workspace:new", json!(40)).await.expect(201);
    let balance = app.balance("workspace:new").await;
    assert_eq!(
        (&balance["available"], &balance["version"]),
        (&json!(60), &json!(2))
    );
    app.verify().await;
}

#[tokio::test]
async fn authorize_answers_without_booking() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "free"}))
        .await
        .expect(201);
    let ask = async |body: Value| {
        app.post(&format!("{POOL}/authorize"))
            .json(&body)
            .send()
            .await
            .expect(200)
            .body
    };
    let answer = ask(json!({"operation": "app_generation", "user_id": "u"})).await;
    let expected = json!({
        "allowed": true, "code": null, "available": 100, "required": null, "estimate": 100,
        "renews_at": "2026-02-28T10:00:00.000Z", "version": 1,
    });
    assert_eq!(answer, expected);
    let short = ask(json!({"credits": 101})).await;
    assert_eq!(
        (&short["allowed"], &short["required"]),
        (&json!(false), &json!(101))
    );
    app.debit("workspace:w", json!(100)).await.expect(201);
    let empty = ask(json!({"operation": "docs_assistant"})).await;
    assert_eq!(
        (&empty["allowed"], &empty["code"]),
        (&json!(false), &json!("pool_empty"))
    );

    app.put_pool("workspace:old", json!({"plan": "legacy_pro"}))
        .await
        .expect(201);
    let fixed = app.post("/v1/pools/workspace:old/authorize");
    let fixed = fixed
        .json(&json!({"operation": "sql_generation"}))
        .send()
        .await
        .expect(200)
        .body;
    assert_eq!(
        (&fixed["required"], &fixed["estimate"]),
        (&json!(3), &json!(5))
    );

    for (body, code) in [
        (json!({"operation": "nothing"}), "unknown_operation"),
        (json!({"credits": 0}), "validation_failed"),
        (json!({"credits": 0.5}), "not_a_multiple"),
        (json!({"run_id": "r"}), "validation_failed"),
    ] {
        let reply = app
            .post(&format!("{POOL}/authorize"))
            .json(&body)
            .send()
            .await;
        reply.refused(422, code);
    }
    let unknown = app.post("/v1/pools/workspace:x/authorize").json(&json!({}));
    unknown.send().await.refused(404, "pool_not_found");
    assert_eq!(app.entries().await, 3);
}
