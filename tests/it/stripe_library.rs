//! Stripe's own published library signs, and we believe it; we refuse what it would refuse.
//!
//! `make test` gets the library and says by `STRIPE_LIBRARY` where it is. Without that there is
//! nothing to run: other tests sign as Stripe documents it.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::TestApp;
use crate::support::webhook::{SECRET, sign};

/// Runs the script with a body; gives what it printed, or nothing if it failed.
async fn run(library: &str, arguments: &[&str], body: &str) -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stripe/sign.cjs");
    let mut child = Command::new("node")
        .args([script, library])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("node is there: scripts/setup installs it");
    let mut stdin = child.stdin.take().expect("it is piped");
    let written = stdin.write_all(body.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    written.expect("it reads its input");
    let text = String::from_utf8(output.stdout).expect("a header is text");
    output.status.success().then_some(text)
}

#[tokio::test]
async fn what_stripes_own_library_signs_is_believed_and_nothing_else() {
    let Ok(library) = std::env::var("STRIPE_LIBRARY") else {
        println!("STRIPE_LIBRARY is not set: run `make test`");
        return;
    };
    let app = TestApp::with_events().await;
    let now = app.clock.now().timestamp();
    let body = app.payment("pi_1").completed().to_string();
    let signed = async |secret: &str, at: i64| {
        let arguments = ["sign", secret, &at.to_string()];
        let header = run(&library, &arguments, &body).await;
        header.expect("the library signs: scripts/setup installs it")
    };
    let good = signed(SECRET, now).await;
    let changed = body.replacen("500", "501", 1);
    assert_eq!(changed.len(), body.len(), "one byte is another");
    for (body, header) in [
        (&changed, Some(&good)),
        (&body, Some(&signed(SECRET, now - 301).await)),
        (&body, Some(&signed("whsec_other", now).await)),
        (&body, None),
    ] {
        let reply = app.deliver_raw(body, header.map(String::as_str)).await;
        reply.refused(400, "signature_invalid");
    }
    assert!(app.purchases().await.is_empty());
    app.deliver_raw(&body, Some(&good)).await.expect(200);
    let recent = signed(SECRET, now - 299).await;
    app.deliver_raw(&body, Some(&recent)).await.expect(200);
    assert_eq!(app.balance("workspace:w").await["addon"]["granted"], 500);

    // What the other tests sign is what the library believes.
    let ours = sign(now, &body, SECRET);
    let believed = async |body: &str| run(&library, &["believe", SECRET, &ours], body).await;
    assert!(believed(&body).await.is_some());
    assert!(believed(&changed).await.is_none());
}
