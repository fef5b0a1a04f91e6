//! Licence keys read exactly as they were written, or not at all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};

use super::*;

fn time(text: &str) -> Time {
    text.parse().expect("a time")
}

fn claims() -> Claims {
    Claims {
        id: Uuid::from_u128(7),
        customer_id: "acme".parse().expect("a good label"),
        kind: LicenseType::Paid,
        plan: "enterprise".parse().expect("a good code"),
        builders: Seats::Unlimited,
        users: Some(Seats::Count(50)),
        end_users: None,
        monthly_allowance: Some(Credits::from_units(12_345).expect("not negative")),
        issued_at: time("2026-01-20T10:00:00.120Z"),
        starts_at: None,
        expires_at: Some(time("2027-01-20T23:59:59.999Z")),
        grace_until: None,
        features: vec!["sso".parse().expect("a good label")],
    }
}

/// A private key, its public key, and a licence key that it has signed.
fn signed() -> (Vec<u8>, Vec<u8>, Secret) {
    let (private, public) = ed25519::generate();
    let key = sign(&claims(), Uuid::from_u128(1), &private);
    (private, public, key)
}

/// A token of any header and payload, signed well.
fn token(private: &[u8], header: &str, payload: &str) -> Secret {
    let text = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = text.join(".");
    let pair = Ed25519KeyPair::from_pkcs8(private).expect("a private key");
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()));
    Secret::new(format!("{message}.{signature}"))
}

fn part(key: &Secret, number: usize) -> Value {
    let part = key.expose().split('.').nth(number).expect("the part");
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn a_key_reads_as_it_was_written() {
    let (_, public, key) = signed();
    assert_eq!(kid_of(&key), Ok(Uuid::from_u128(1)));
    assert_eq!(verify(&key, &public), Ok(claims()));
    let bare = Claims {
        builders: Seats::ONE,
        users: None,
        monthly_allowance: None,
        expires_at: None,
        features: Vec::new(),
        ..claims()
    };
    let (private, public) = ed25519::generate();
    let key = sign(&bare, Uuid::from_u128(1), &private);
    assert_eq!(verify(&key, &public), Ok(bare));
}

#[test]
fn anybody_can_read_what_a_key_says() {
    let (_, _, key) = signed();
    let header = json!({
        "typ": "license+jwt", "alg": "EdDSA", "kid": "00000000-0000-0000-0000-000000000001",
    });
    assert_eq!(part(&key, 0), header);
    let payload = json!({
        "id": "00000000-0000-0000-0000-000000000007", "customer_id": "acme", "type": "paid",
        "plan": "enterprise", "builders": "unlimited", "users": 50, "monthly_allowance": 123.45,
        "issued_at": "2026-01-20T10:00:00.120Z", "starts_at": null,
        "expires_at": "2027-01-20T23:59:59.999Z", "grace_until": null, "features": ["sso"],
    });
    assert_eq!(part(&key, 1), payload);
}

#[test]
fn a_key_with_any_bit_flipped_is_refused() {
    let (_, public, key) = signed();
    for position in 0..key.expose().len() {
        for bit in 0..8 {
            let mut bytes = key.expose().as_bytes().to_vec();
            bytes[position] ^= 1 << bit;
            // What is no text never gets here.
            let Ok(text) = String::from_utf8(bytes) else {
                continue;
            };
            let read = verify(&Secret::new(text), &public);
            assert!(read.is_err(), "byte {position}, bit {bit}");
        }
    }
}

#[test]
fn a_key_that_is_cut_or_longer_is_refused() {
    let (_, public, key) = signed();
    let text = key.expose();
    for length in 0..text.len() {
        let cut = Secret::new(&text[..length]);
        assert!(verify(&cut, &public).is_err(), "{length}");
    }
    for other in [
        format!("{text}="),
        format!("{text}A"),
        format!("{text}."),
        format!("{text} "),
        format!(" {text}"),
        format!("{text}\n"),
        text.replace('.', ".."),
    ] {
        assert!(verify(&Secret::new(&other), &public).is_err(), "{other:?}");
    }
}

#[test]
fn only_the_key_that_signed_verifies() {
    let (_, _, key) = signed();
    let (_, other) = ed25519::generate();
    assert_eq!(verify(&key, &other), Err(TokenError::Signature));
    let no_point = [7; 31];
    assert_eq!(verify(&key, &no_point), Err(TokenError::Signature));
}

#[test]
fn a_header_that_is_not_ours_is_refused_however_well_it_is_signed() {
    let (private, public, key) = signed();
    let payload = part(&key, 1).to_string();
    let kid = r#""kid":"00000000-0000-0000-0000-000000000001""#;
    let good = format!(r#"{{"typ":"license+jwt","alg":"EdDSA",{kid}}}"#);
    assert!(verify(&token(&private, &good, &payload), &public).is_ok());
    for bad in [
        "{}".to_owned(),
        "[]".to_owned(),
        r#"{"typ":"license+jwt","alg":"EdDSA"}"#.to_owned(),
        r#"{"typ":"license+jwt","alg":"EdDSA","kid":"1"}"#.to_owned(),
        format!(r#"{{"typ":"JWT","alg":"EdDSA",{kid}}}"#),
        format!(r#"{{"alg":"EdDSA",{kid}}}"#),
        format!(r#"{{"typ":"license+jwt","alg":"none",{kid}}}"#),
        format!(r#"{{"typ":"license+jwt","alg":"HS256",{kid}}}"#),
        format!(r#"{{"typ":"license+jwt","alg":"RS256",{kid}}}"#),
        format!(r#"{{"typ":"license+jwt","alg":"eddsa",{kid}}}"#),
        format!(r#"{{"typ":"license+jwt","alg":"EdDSA","alg":"EdDSA",{kid}}}"#),
        format!(r#"{{"typ":"license+jwt","alg":"EdDSA",{kid},"crit":["b64"],"b64":false}}"#),
        format!(r#"{{"typ":"license+jwt","alg":"EdDSA",{kid},"jku":"https://a.example"}}"#),
        format!(r#"{{"typ":"license+jwt","alg":"EdDSA",{kid},"more":1}}"#),
    ] {
        let read = verify(&token(&private, &bad, &payload), &public);
        assert_eq!(read, Err(TokenError::Malformed), "{bad}");
    }
}

#[test]
fn a_payload_that_is_not_ours_is_refused_however_well_it_is_signed() {
    let (private, public, key) = signed();
    let (header, payload) = (part(&key, 0).to_string(), part(&key, 1).to_string());
    assert!(verify(&token(&private, &header, &payload), &public).is_ok());
    let with = |name: &str, value: Value| {
        let mut payload = part(&key, 1);
        payload[name] = value;
        payload.to_string()
    };
    let mut lacking = part(&key, 1);
    lacking.as_object_mut().map(|members| members.remove("id"));
    for bad in [
        "{}".to_owned(),
        "7".to_owned(),
        lacking.to_string(),
        with("more", json!(1)),
        with("builders", json!(1.5)),
        with("builders", json!("many")),
        with("type", json!("gold")),
        with("customer_id", json!("")),
        with("monthly_allowance", json!(-1)),
        with("expires_at", json!("2027-01-20")),
        payload.replacen('{', r#"{"plan":"pro","#, 1),
    ] {
        let read = verify(&token(&private, &header, &bad), &public);
        assert_eq!(read, Err(TokenError::Malformed), "{bad}");
    }
}

#[test]
fn a_key_of_more_than_eight_kibibytes_is_not_looked_at() {
    let (private, public, key) = signed();
    let header = part(&key, 0).to_string();
    let padded = |length: usize| {
        let payload = part(&key, 1).to_string() + &" ".repeat(length);
        token(&private, &header, &payload)
    };
    assert!(verify(&padded(5_000), &public).is_ok());
    let long = padded(6_000);
    assert!(long.expose().len() > MAX_BYTES);
    assert_eq!(verify(&long, &public), Err(TokenError::Malformed));
}

#[test]
fn a_fingerprint_is_the_keys_digest() {
    let print = fingerprint(&Secret::new("abc"));
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(print.as_str(), format!("sha256:{digest}"));
}
