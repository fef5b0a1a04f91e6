//! Tenants are strangers: every operation of the OpenAPI document, tried by whom it is not for.
//!
//! The document says which operations there are, so a new route cannot be forgotten: one without
//! example parameters or an example body fails here.

use serde_json::{Value, json};

use crate::support::webhook::sign;
use crate::support::{Client, Reply, TestApp};

/// Only the owner's things are called so.
const MARK: &str = "owners-own";

/// An operation of the document.
struct Operation {
    method: reqwest::Method,
    path: String,
    body: Option<Value>,
    open: bool,
}

/// What the owner has, or ids of things that nobody has.
struct Things {
    pool: String,
    debit: String,
    hold: String,
    checkout: String,
    exception: String,
    tenant: String,
    key: String,
    clock: String,
    kid: String,
}

impl Things {
    fn nobodys() -> Self {
        let id = || "0190a000-0000-7000-8000-000000000000".to_owned();
        let pool = "nobodys-own".to_owned();
        Self {
            pool,
            debit: id(),
            hold: id(),
            checkout: id(),
            exception: id(),
            tenant: id(),
            key: id(),
            clock: id(),
            kid: id(),
        }
    }
}

impl Operation {
    /// The path with its parameters filled in.
    fn path_of(&self, things: &Things) -> String {
        let pool = format!("workspace:{}", things.pool);
        let id = match self.path.as_str() {
            path if path.starts_with("/v1/pools/{pool}/debits/{id}") => &things.debit,
            path if path.starts_with("/v1/pools/{pool}/holds/{id}") => &things.hold,
            path if path.starts_with("/v1/pools/{pool}/checkouts/{id}") => &things.checkout,
            path if path.starts_with("/v1/payments/exceptions/{id}") => &things.exception,
            path if path.starts_with("/v1/tenants/{id}") => &things.tenant,
            path if path.starts_with("/v1/test-clocks/{id}") => &things.clock,
            path if path.starts_with("/api/ai/") => &things.pool,
            path => {
                assert!(!path.contains("{id}"), "{path} has no example parameters");
                ""
            }
        };
        let filled = [
            ("{pool}", pool.as_str()),
            ("{id}", id),
            ("{key_id}", &things.key),
            ("{kid}", &things.kid),
            ("{tenant_id}", &things.tenant),
        ]
        .into_iter()
        .chain([("{code}", MARK), ("{run_id}", things.pool.as_str())])
        .fold(self.path.clone(), |path, (name, value)| {
            path.replace(name, value)
        });
        assert!(
            !filled.contains('{'),
            "{} has no example parameters",
            self.path
        );
        filled
    }

    /// The example body, about the pool.
    fn body_of(&self, things: &Things) -> Option<Value> {
        let pool = format!("workspace:{}", things.pool);
        let text = self
            .body
            .as_ref()?
            .to_string()
            .replace("workspace:6f1c", &pool);
        Some(serde_json::from_str(&text).expect("still JSON"))
    }

    async fn send(&self, client: &Client, things: &Things) -> Reply {
        let call = match self.method {
            reqwest::Method::POST => client.post(&self.path_of(things)),
            _ => client.call(self.method.clone(), &self.path_of(things)),
        };
        let call = match self.body_of(things) {
            Some(body) => call.json(&body),
            None => call,
        };
        call.send().await
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// The operations of the document that a service serves.
async fn operations(client: &Client) -> Vec<Operation> {
    let document = client.get("/openapi.json").send().await.expect(200).body;
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            operations.push(Operation {
                method: method.to_uppercase().parse().expect("a method"),
                path: path.clone(),
                body: example(&document, operation),
                open: operation["security"] == json!([{}]),
            });
        }
    }
    operations
}

fn example(document: &Value, operation: &Value) -> Option<Value> {
    let schema = operation.pointer("/requestBody/content/application~1json/schema")?;
    let reference = schema["$ref"]
        .as_str()
        .expect("a body has a schema of its own");
    let schema = document
        .pointer(reference.trim_start_matches('#'))
        .expect("the schema");
    let example = schema.get("example").cloned();
    Some(example.unwrap_or_else(|| panic!("{reference} has no example")))
}

/// An owner with one of each thing, all of them marked.
async fn owner() -> (TestApp, Things) {
    let app = TestApp::sandbox().await;
    for kind in ["workspace", "instance"] {
        let pool = format!("{kind}:{MARK}");
        let body = json!({"plan": "pro", "metadata": {"note": MARK}});
        app.put_pool(&pool, body).await.expect(201);
        let body = json!({"credits": 100, "payment_reference": format!("{MARK}-{kind}")});
        let path = format!("/v1/pools/{pool}/purchases");
        app.post(&path).json(&body).send().await.expect(201);
    }
    let plan = json!({
        "name": MARK, "allowance": {"per": "pool", "credits": 7}, "addons": true,
        "denomination": 1, "legacy_prices": false, "aliases": [],
    });
    app.put(&format!("/v1/plans/{MARK}"))
        .json(&plan)
        .send()
        .await
        .expect(201);
    let operation = json!({"name": MARK, "estimate": 7});
    app.put(&format!("/v1/operations/{MARK}"))
        .json(&operation)
        .send()
        .await
        .expect(201);
    let path = format!("/v1/pools/workspace:{MARK}/debits");
    let debit = json!({"credits": 10, "operation": MARK, "user_id": MARK, "run_id": MARK});
    let debit = app.post(&path).json(&debit).send().await.expect(201).body;
    let hold = json!({"credits": 10, "user_id": MARK});
    let hold = app.book(&format!("workspace:{MARK}/holds"), hold).await;
    let hold = hold.expect(201).body;
    let checkout = checkout(&app).await;
    let settings = json!({"api_key": MARK, "webhook_secrets": [MARK]});
    let path = "/v1/payments/stripe";
    app.put(path).json(&settings).send().await.expect(200);
    let exception = exception(&app).await;
    let kid = app.post("/v1/licenses/keys").send().await.expect(201);
    let clock = json!({"now": "2026-01-31T10:00:00Z"});
    let clock = app
        .post("/v1/test-clocks")
        .json(&clock)
        .send()
        .await
        .expect(201)
        .body;
    let keys = format!("/v1/tenants/{}/keys", app.tenant);
    let key = json!({"name": MARK, "scopes": ["balances:read"]});
    let key = app
        .operator
        .post(&keys)
        .json(&key)
        .send()
        .await
        .expect(201)
        .body;
    let id = |body: &Value| body["id"].as_str().expect("an id").to_owned();
    let things = Things {
        pool: MARK.to_owned(),
        debit: id(&debit),
        hold: id(&hold),
        checkout: id(&checkout),
        exception: id(&exception),
        tenant: app.tenant.clone(),
        key: id(&key),
        clock: id(&clock),
        kid: kid.body["kid"].as_str().expect("an id").to_owned(),
    };
    (app, things)
}

/// A checkout of the owner's, free by a code of its own.
async fn checkout(app: &TestApp) -> Value {
    let gift = json!({"percent_off": 100, "once_per_pool": false});
    let path = format!("/v1/promo-codes/{MARK}");
    app.put(&path).json(&gift).send().await.expect(201);
    let path = format!("/v1/pools/workspace:{MARK}/checkouts");
    let checkout = json!({
        "credits": 100, "promo_code": MARK, "user_id": MARK,
        "success_url": format!("https://{MARK}.example"), "cancel_url": "https://a.example",
    });
    let checkout = app.post(&path).json(&checkout).send().await;
    checkout.expect(201).body
}

/// A payment of the owner's that could not be credited.
async fn exception(app: &TestApp) -> Value {
    let mut payment = app.payment(MARK);
    payment.metadata = json!({"pool": MARK, "credits": MARK});
    let body = payment.completed().to_string();
    let signature = sign(app.clock.now().timestamp(), &body, MARK);
    app.deliver_raw(&body, Some(&signature)).await.expect(200);
    app.exceptions().await.remove(0)
}

/// Everything the owner can read of what is its own.
async fn state(app: &TestApp, things: &Things) -> Vec<Value> {
    let mut state = Vec::new();
    for path in [
        format!("/v1/pools/workspace:{MARK}"),
        format!("/v1/pools/workspace:{MARK}/transactions"),
        format!("/v1/pools/workspace:{MARK}/holds"),
        format!("/v1/pools/instance:{MARK}/transactions"),
        "/v1/pools".to_owned(),
        "/v1/purchases".to_owned(),
        "/v1/payments/exceptions".to_owned(),
        "/v1/plans?limit=200".to_owned(),
        "/v1/operations?limit=200".to_owned(),
        "/v1/addon-terms".to_owned(),
        "/v1/promo-codes".to_owned(),
        "/v1/payments/stripe".to_owned(),
        "/v1/licenses/keys".to_owned(),
        format!("/v1/pools/workspace:{MARK}/checkouts/{}", things.checkout),
    ] {
        state.push(app.get(&path).send().await.expect(200).body);
    }
    let tenant = format!("/v1/tenants/{}", things.tenant);
    state.push(app.operator.get(&tenant).send().await.expect(200).body);
    let keys = app
        .operator
        .get(&format!("{tenant}/keys"))
        .send()
        .await
        .expect(200)
        .body;
    let ids = keys["data"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| key["id"].clone());
    state.push(ids.collect());
    state
}

/// What a body says but for the request's id.
fn said(reply: &Reply) -> Value {
    let mut body = reply.body.clone();
    if let Some(members) = body.as_object_mut() {
        members.remove("request_id");
    }
    body
}

#[tokio::test]
async fn a_stranger_sees_and_moves_nothing() {
    let (app, things) = owner().await;
    let before = state(&app, &things).await;
    let nobodys = Things::nobodys();
    let own_things = [
        "/v1/plans/{code}",
        "/v1/operations/{code}",
        "/v1/promo-codes/{code}",
        "/v1/pools/{pool}",
        // Its key is looked at before its pool.
        "/v1/pools/{pool}/license",
    ];
    for operation in operations(&app).await.iter().filter(|it| !it.open) {
        let name = operation.name();
        // Each has a tenant of its own: what one makes must not be what the next one sees.
        let reply = operation.send(&app.stranger().await, &things).await;
        assert!(reply.status < 500, "{name}: {}", reply.text);
        let of_the_owner = operation.path.contains('{');
        let makes_its_own =
            operation.method == "PUT" && own_things.contains(&operation.path.as_str());
        if of_the_owner && !makes_its_own {
            assert!(
                [401, 403, 404].contains(&reply.status),
                "{name}: {}",
                reply.text
            );
            let of_nobody = operation.send(&app.stranger().await, &nobodys).await;
            assert_eq!(said(&reply), said(&of_nobody), "{name} tells what is there");
        }
        for (thing, id) in [
            ("tenant", &things.tenant),
            ("debit", &things.debit),
            ("hold", &things.hold),
            ("checkout", &things.checkout),
            ("exception", &things.exception),
            ("signing key", &things.kid),
        ] {
            assert!(
                !reply.text.contains(id.as_str()),
                "{name} tells the {thing}"
            );
        }
        let shows_the_mark = reply.text.contains(MARK);
        let was_told = operation.path_of(&things).contains(MARK)
            || operation
                .body_of(&things)
                .is_some_and(|body| body.to_string().contains(MARK));
        assert!(!shows_the_mark || was_told, "{name}: {}", reply.text);
    }
    assert_eq!(
        state(&app, &things).await,
        before,
        "the owner's things are as they were"
    );
    app.verify().await;
}

#[tokio::test]
async fn without_a_key_only_the_service_itself_answers() {
    let (app, things) = owner().await;
    let mut open = Vec::new();
    for operation in operations(&app).await {
        for bearer in [
            "",
            "nonsense",
            "cl_live_00000000000000000000000000000000000000",
        ] {
            let reply = operation.send(&app.with_key(bearer), &things).await;
            match operation.open {
                // Who signs it speaks, and that is nobody here.
                true if operation.path.ends_with("/webhook") => {
                    drop(reply.refused(400, "signature_invalid"));
                }
                true => assert_eq!(reply.status, 200, "{}", operation.name()),
                false => drop(reply.refused(401, "unauthorized")),
            }
        }
        if operation.open {
            open.push(operation.path);
        }
    }
    assert_eq!(
        open,
        [
            "/docs",
            "/livez",
            "/metrics",
            "/openapi.json",
            "/readyz",
            "/v1/payments/stripe/{tenant_id}/webhook",
        ]
    );
    assert_eq!(app.with_key("").get("/docs").send().await.status, 200);
}

/// A client of the owner's tenant whose key is bound to `workspace:bound`.
async fn bound_to_a_pool(app: &TestApp, things: &Things) -> Client {
    app.put_pool("workspace:bound", json!({"plan": "free"}))
        .await
        .expect(201);
    let path = format!("/v1/tenants/{}/keys", things.tenant);
    let body = json!({
        "name": "bound", "scopes": ["balances:read", "debits:write"], "pools": ["workspace:bound"],
    });
    let key = app
        .operator
        .post(&path)
        .json(&body)
        .send()
        .await
        .expect(201)
        .body;
    app.with_key(key["secret"].as_str().expect("a secret"))
}

#[tokio::test]
async fn a_key_bound_to_a_pool_knows_no_other() {
    let (app, things) = owner().await;
    let bound = bound_to_a_pool(&app, &things).await;
    let before = state(&app, &things).await;
    for operation in operations(&app).await.iter().filter(|it| !it.open) {
        let name = operation.name();
        let reply = operation.send(&bound, &things).await;
        if operation.path.contains("{pool}") || operation.path.starts_with("/api/ai/") {
            assert!([403, 404].contains(&reply.status), "{name}: {}", reply.text);
        }
        // What is sold is the tenant's, not a pool's.
        let of_the_tenant = [
            "/v1/plans",
            "/v1/operations",
            "/v1/addon-terms",
            "/v1/promo-codes",
        ];
        let told = operation.path_of(&things).contains(MARK)
            || operation
                .body_of(&things)
                .is_some_and(|body| body.to_string().contains(MARK))
            || of_the_tenant.contains(&operation.path.as_str());
        assert!(told || !reply.text.contains(MARK), "{name}: {}", reply.text);
    }
    assert_eq!(state(&app, &things).await, before);
}

#[tokio::test]
async fn a_key_bound_to_a_pool_lists_reads_and_debits_that_one_alone() {
    let (app, things) = owner().await;
    let bound = bound_to_a_pool(&app, &things).await;
    let pools = bound.get("/v1/pools").send().await.expect(200).body;
    assert_eq!(pools["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(pools["data"][0]["pool"], "workspace:bound");
    assert_eq!(
        bound.get("/v1/purchases").send().await.expect(200).body["data"],
        json!([])
    );
    let names = json!({"pools": [format!("workspace:{MARK}"), "workspace:bound"]});
    let results = bound
        .post("/v1/balances")
        .json(&names)
        .send()
        .await
        .expect(200)
        .body;
    assert_eq!(results["results"][0]["error"]["code"], "pool_not_found");
    assert_eq!(results["results"][1]["balance"]["available"], 100);
    bound.debit("workspace:bound", json!(1)).await.expect(201);
    let item = |pool: &str| json!({"pool": pool, "idempotency_key": "k", "credits": 1});
    let items = json!({"items": [item(&format!("workspace:{MARK}")), item("workspace:bound")]});
    let results = bound
        .post("/v1/debits/batch")
        .json(&items)
        .send()
        .await
        .expect(200)
        .body;
    assert_eq!(
        (
            &results["results"][0]["status"],
            &results["results"][1]["status"]
        ),
        (&json!(404), &json!(201))
    );
}

#[tokio::test]
async fn each_scope_opens_its_own_operations_only() {
    let (app, things) = owner().await;
    // A key with every scope but the one that is needed is refused before anything is looked at.
    let needed = |operation: &Operation| -> Option<&'static str> {
        let path = operation.path.as_str();
        let post = operation.method == "POST";
        match &operation.method {
            _ if operation.open || path == "/v1/tenants" || path == "/v1/tenants/{id}" => None,
            _ if path.starts_with("/v1/tenants/{id}/keys") => Some("keys:write"),
            _ if path == "/v1/payments/stripe" => Some("purchases:write"),
            _ if post && path.starts_with("/v1/payments/exceptions") => Some("purchases:write"),
            _ if path.ends_with("/checkouts/quote") => Some("balances:read"),
            method if method == "GET" => Some("balances:read"),
            _ if path == "/v1/balances" || path.ends_with("/authorize") => Some("balances:read"),
            _ if path.contains("/debits") => Some("debits:write"),
            _ if path.contains("/holds") || path.contains("/runs/") => Some("debits:write"),
            _ if post && path.ends_with("/purchases") => Some("purchases:write"),
            _ if post && path.ends_with("/checkouts") => Some("purchases:write"),
            _ if path.ends_with("/adjustments") => Some("admin"),
            _ if path.starts_with("/v1/licenses") => Some("admin"),
            _ if path.ends_with("/license") => Some("pools:write"),
            _ if path == "/v1/pools/{pool}" || path.contains("/test-clocks") => Some("pools:write"),
            _ if path.starts_with("/v1/plans") || path.starts_with("/v1/operations") => {
                Some("catalog:write")
            }
            _ if path == "/v1/addon-terms" => Some("catalog:write"),
            _ if path.starts_with("/v1/promo-codes") => Some("catalog:write"),
            _ => panic!("{} needs a scope here", operation.name()),
        }
    };
    let all = [
        "balances:read",
        "debits:write",
        "purchases:write",
        "pools:write",
        "catalog:write",
        "keys:write",
    ];
    for operation in operations(&app).await {
        let Some(scope) = needed(&operation) else {
            continue;
        };
        let others: Vec<&str> = all.into_iter().filter(|it| *it != scope).collect();
        let without = operation
            .send(&app.with_scopes(&others).await, &things)
            .await;
        let without = without.refused(403, "scope_missing");
        assert_eq!(without.body["scope"], scope, "{}", operation.name());
        let with = operation
            .send(&app.with_scopes(&[scope]).await, &things)
            .await;
        // The key that is to be made may not have scopes that its maker lacks.
        let lacks = with.body["scope"] == scope;
        assert!(
            with.status != 401 && !lacks,
            "{}: {}",
            operation.name(),
            with.text
        );
    }
}
