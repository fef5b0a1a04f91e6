//! The settings that payments need, as types that are good: the key that tenants' secrets are
//! encrypted with, and where the provider is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

/// The key that encrypts what tenants entrust us with. Its `Debug` hides it.
#[derive(Clone)]
pub struct SecretsKey([u8; 32]);

/// Where a provider's API is: scheme and host, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiBase(String);

impl SecretsKey {
    /// The key itself, for the one place that needs it.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for SecretsKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = STANDARD.decode(text).map_err(|_| ())?;
        bytes.try_into().map(Self).map_err(|_| ())
    }
}

impl fmt::Debug for SecretsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretsKey(hidden)")
    }
}

impl ApiBase {
    /// What it must be, for a message.
    pub const WANTED: &str = "an https address without a path (http for a loopback address alone)";

    /// Without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApiBase {
    type Err = ();

    /// Keys travel to it, so plain HTTP must not leave this machine.
    fn from_str(text: &str) -> Result<Self, ()> {
        let url = Url::parse(text).map_err(|_| ())?;
        let host = url.host_str().ok_or(())?;
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_loopback = host == "localhost" || address.is_ok_and(|it| it.is_loopback());
        let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if is_safe && is_bare {
            Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
        } else {
            Err(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_travel_encrypted_or_stay_on_this_machine() {
        for good in [
            "https://api.stripe.com",
            "https://pay.example:8443/",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost:12111",
        ] {
            let base: ApiBase = good.parse().expect(good);
            assert_eq!(base.as_str(), good.trim_end_matches('/'));
        }
        for bad in [
            "",
            "api.stripe.com",
            "http://api.stripe.com",
            "http://10.0.0.1",
            "ftp://localhost",
            "https://api.stripe.com/v1",
            "https://api.stripe.com?a",
            "https://user@api.stripe.com",
        ] {
            assert!(bad.parse::<ApiBase>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secrets_key_is_32_bytes() {
        for (bytes, good) in [(31, false), (32, true), (33, false)] {
            let text = STANDARD.encode(vec![7; bytes]);
            assert_eq!(text.parse::<SecretsKey>().is_ok(), good, "{bytes}");
        }
        assert!("not base64!".parse::<SecretsKey>().is_err());
    }
}
