//! The header `Stripe-Signature`: who holds one of the webhook's secrets has written this very
//! body, and not long ago.
//!
//! `t=<seconds>,v1=<hex>[,v1=<hex>]…`: HMAC-SHA-256 of `<seconds>.<body>`. While a secret is
//! rotated, Stripe signs with both, and we know both. Schemes other than `v1` do not count.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::Secret;

/// How far the signature's time may be from ours, in seconds.
const TOLERANCE: u64 = 300;

/// More signatures than this are not tried.
const MAX_SIGNATURES: usize = 16;

/// Whether one of the secrets has signed this body within the tolerance of `now`, in seconds since
/// 1970.
#[must_use]
pub fn is_good(header: &str, body: &[u8], secrets: &[Secret], now: i64) -> bool {
    let Some(Signed { at, signatures }) = read(header) else {
        return false;
    };
    let is_recent = at
        .parse::<i64>()
        .is_ok_and(|at| at.abs_diff(now) <= TOLERANCE);
    // Every secret with every signature, whichever is right: the time tells nothing.
    let mut is_signed = false;
    for secret in secrets {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
            .expect("a key of any length is good");
        // The time as it was sent, not as we read it.
        mac.update(at.as_bytes());
        mac.update(b".");
        mac.update(body);
        for signature in &signatures {
            is_signed |= mac.clone().verify_slice(signature).is_ok();
        }
    }
    is_recent && is_signed
}

struct Signed<'a> {
    at: &'a str,
    signatures: Vec<[u8; 32]>,
}

fn read(header: &str) -> Option<Signed<'_>> {
    let parts = || {
        let parts = header.split(',');
        parts.filter_map(|part| part.trim().split_once('='))
    };
    let (_, at) = parts().find(|(name, _)| *name == "t")?;
    let v1 = parts().filter(|(name, _)| *name == "v1");
    let signatures = v1.filter_map(|(_, hex)| unhex(hex)).take(MAX_SIGNATURES);
    Some(Signed {
        at,
        signatures: signatures.collect(),
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const NOW: i64 = 1_769_853_600;

    fn secrets(texts: &[&str]) -> Vec<Secret> {
        texts.iter().map(|text| Secret::new(*text)).collect()
    }

    fn sign(at: &str, body: &[u8], secret: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(at.as_bytes());
        mac.update(b".");
        mac.update(body);
        let bytes = mac.finalize().into_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn header(at: i64, secret: &str) -> String {
        format!("t={at},v1={}", sign(&at.to_string(), BODY, secret))
    }

    /// Made with `printf '%s' '1769853600.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_one`.
    #[test]
    fn it_agrees_with_another_implementation() {
        let known = "edb6fadcff0a51a8d8d8246d18f12f462e5beec5800fb9cf163255fe3581cef4";
        let header = format!("t=1769853600,v1={known}");
        assert!(is_good(&header, BODY, &secrets(&["whsec_one"]), NOW));
    }

    #[test]
    fn any_active_secret_and_any_v1_will_do() {
        let both = secrets(&["whsec_one", "whsec_two"]);
        for secret in ["whsec_one", "whsec_two"] {
            assert!(is_good(&header(NOW, secret), BODY, &both, NOW));
        }
        let (one, zeros) = (sign(&NOW.to_string(), BODY, "whsec_one"), "0".repeat(64));
        for good in [
            format!("t={NOW},v1={zeros},v1={one}"),
            format!("t={NOW},v1={one},v1={zeros}"),
            format!("v1={one},t={NOW}"),
            format!("t={NOW}, v1={one}, v0=abc"),
            format!("t={NOW},v1={}", one.to_uppercase()),
        ] {
            assert!(is_good(&good, BODY, &both, NOW), "{good}");
        }
    }

    #[test]
    fn another_body_secret_or_scheme_is_refused() {
        let one = secrets(&["whsec_one"]);
        let good = header(NOW, "whsec_one");
        assert!(!is_good(&good, br#"{"id":"evt_2"}"#, &one, NOW));
        assert!(!is_good(&header(NOW, "whsec_two"), BODY, &one, NOW));
        assert!(!is_good(&good, BODY, &[], NOW));
        let signature = sign(&NOW.to_string(), BODY, "whsec_one");
        for bad in [
            String::new(),
            "t=".to_owned(),
            format!("v1={signature}"),
            format!("t={NOW}"),
            format!("t={NOW},v0={signature}"),
            format!("t={NOW},v1="),
            format!("t={NOW},v1={}", &signature[2..]),
            format!("t={NOW},v1={signature}00"),
            format!("t={},v1={signature}", NOW + 1),
            format!("t=+{NOW},v1={signature}"),
            format!("t=now,v1={}", sign("now", BODY, "whsec_one")),
            format!("t={NOW},v1=é{}", &signature[2..]),
        ] {
            assert!(!is_good(&bad, BODY, &one, NOW), "{bad}");
        }
    }

    #[test]
    fn the_tolerance_is_five_minutes_either_way() {
        let one = secrets(&["whsec_one"]);
        for (age, good) in [
            (0, true),
            (300, true),
            (301, false),
            (-300, true),
            (-301, false),
        ] {
            let header = header(NOW - age, "whsec_one");
            assert_eq!(is_good(&header, BODY, &one, NOW), good, "{age} s old");
        }
        for extreme in [i64::MIN, i64::MAX] {
            assert!(!is_good(&header(extreme, "whsec_one"), BODY, &one, NOW));
        }
    }
}
