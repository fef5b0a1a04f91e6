//! What a licence key is: a compact JWS, signed with Ed25519, over what the licence says.
//!
//! Reading is strict: a key reads exactly as it was written or not at all. Whether a licence is for
//! a pool, and now, is the ledger's to say.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::ed25519;
use crate::config::Secret;
use crate::ledger::{
    Credits, Label, License, LicenseLimits, LicenseType, PlanCode, Seats, Signed, SignedLicense,
    Terms, Time,
};

/// The most bytes a licence key may have.
pub const MAX_BYTES: usize = 8 * 1024;

/// What kind of token it is, so that no other of the same signer is taken for a licence.
const KIND: &str = "license+jwt";

/// What a licence key says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Its own id.
    pub id: Uuid,
    /// The id of the instance it is for.
    pub customer_id: Label,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: LicenseType,
    /// The plan's own code.
    pub plan: PlanCode,
    /// How many build.
    pub builders: Seats,
    /// All users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Seats>,
    /// Users who only use what was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_users: Option<Seats>,
    /// The pool's own allowance, on plans without one and with unlimited builders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_allowance: Option<Credits>,
    /// When it was issued.
    #[serde(serialize_with = "in_milliseconds")]
    pub issued_at: Time,
    /// Not to be applied before this.
    #[serde(serialize_with = "perhaps_in_milliseconds")]
    pub starts_at: Option<Time>,
    /// When it expires.
    #[serde(serialize_with = "perhaps_in_milliseconds")]
    pub expires_at: Option<Time>,
    /// Until when it is honoured after that.
    #[serde(serialize_with = "perhaps_in_milliseconds")]
    pub grace_until: Option<Time>,
    /// What it opens, in the vendor's words.
    pub features: Vec<Label>,
}

/// Why a text is no licence key of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It does not look like one.
    Malformed,
    /// It does, but its signature is not good.
    Signature,
}

/// Writes and signs a licence key.
///
/// # Panics
/// The private key is none.
pub fn sign(claims: &Claims, kid: Uuid, private: &[u8]) -> Secret {
    ed25519::install();
    let key = EncodingKey::from_ed_der(private);
    let token = encode(&header(kid), claims, &key);
    Secret::new(token.expect("a stored private key is one, and claims have a JSON text"))
}

/// The signing key that a licence key names.
///
/// # Errors
/// It is none of ours.
pub fn kid_of(key: &Secret) -> Result<Uuid, TokenError> {
    if key.expose().len() > MAX_BYTES {
        return Err(TokenError::Malformed);
    }
    let given = decode_header(key.expose()).map_err(|_| TokenError::Malformed)?;
    let kid = given.kid.as_deref().and_then(|kid| kid.parse().ok());
    let kid = kid.ok_or(TokenError::Malformed)?;
    // Nothing but what we write: no other algorithm, no key or address of the sender's own.
    if given == header(kid) {
        Ok(kid)
    } else {
        Err(TokenError::Malformed)
    }
}

/// What a licence key says, once its signature was found good.
///
/// # Errors
/// It is none of ours, or this public key's owner has not signed it.
pub fn verify(key: &Secret, public: &[u8]) -> Result<Claims, TokenError> {
    kid_of(key)?;
    ed25519::install();
    let mut rules = Validation::new(Algorithm::EdDSA);
    // Its times are the ledger's to judge, on the pool's own clock.
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules.validate_aud = false;
    let token = decode(key.expose(), &DecodingKey::from_ed_der(public), &rules);
    let token = token.map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        _ => TokenError::Malformed,
    })?;
    Ok(token.claims)
}

/// What is kept of a licence key: nobody can make the key from it.
///
/// # Panics
/// Never: it is short and printable.
pub fn fingerprint(key: &Secret) -> Label {
    let digest = Sha256::digest(key.expose());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("sha256:{hex}");
    text.parse().expect("71 printable characters are a label")
}

fn header(kid: Uuid) -> Header {
    Header {
        typ: Some(KIND.to_owned()),
        kid: Some(kid.to_string()),
        ..Header::new(Algorithm::EdDSA)
    }
}

impl Claims {
    /// As a licence to be applied.
    pub fn into_license(self, fingerprint: Label) -> SignedLicense {
        let limits = LicenseLimits {
            users: self.users,
            builders: Some(self.builders),
            end_users: self.end_users,
        };
        SignedLicense {
            customer: self.customer_id,
            terms: Terms {
                plan: self.plan,
                builders: self.builders,
                monthly_allowance: self.monthly_allowance,
            },
            license: License {
                expires_at: self.expires_at,
                grace_until: self.grace_until,
                limits: Some(limits),
                ..License::of(self.kind)
            },
            signed: Signed {
                fingerprint,
                issued_at: self.issued_at,
                features: self.features,
            },
            starts_at: self.starts_at,
        }
    }
}

fn in_milliseconds<S: Serializer>(at: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&at.format("%Y-%m-%dT%H:%M:%S%.3fZ"))
}

fn perhaps_in_milliseconds<S: Serializer>(
    at: &Option<Time>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => in_milliseconds(at, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
