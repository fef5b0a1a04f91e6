//! Names and ids. Every id is its own type; in the API they are plain UUIDs.
//!
//! A pool's id is made from its tenant and name, and an entry's id from its instant, pool and
//! number, so neither needs a look-up or an index of its own.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Label, TextError, Time};

/// The bits of a UUID that its version and variant leave free, without the leading timestamp.
const FREE_BITS: u128 = (1 << 74) - 1;
/// The bits after the variant.
const LOW_BITS: u128 = (1 << 62) - 1;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Uuid);

        impl $name {
            /// The id as a plain UUID, for SQL and JSON.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id!(
    /// One isolated user of the service.
    TenantId
);
uuid_id!(
    /// A pool, made from its tenant and name: see [`PoolId::of`].
    PoolId
);
uuid_id!(
    /// A journal entry: see [`EntryId::of`].
    EntryId
);
uuid_id!(
    /// A tenant's API key.
    KeyId
);
uuid_id!(
    /// A clock that a sandbox tenant moves by hand.
    ClockId
);
uuid_id!(
    /// A purchase of add-on credits.
    PurchaseId
);

impl PoolId {
    /// The id of a tenant's pool. Another tenant's pool of the same name has another id.
    #[must_use]
    pub fn of(tenant: TenantId, name: &PoolName) -> Self {
        Self(derived(b"credit-ledger pool\0", tenant, &name.to_string()))
    }

    /// A number in which pools of one instant are far apart: the id's free bits.
    fn spread(self) -> u128 {
        let bits = self.0.as_u128();
        let high = bits.checked_shr(64).unwrap_or_default() & 0xfff;
        high.checked_shl(62).unwrap_or_default() | (bits & LOW_BITS)
    }
}

impl PurchaseId {
    /// The id of a payment that another system credited: the same however often it is imported.
    #[must_use]
    pub fn of_imported(tenant: TenantId, reference: &Label) -> Self {
        let kind = b"credit-ledger imported payment\0";
        Self(derived(kind, tenant, reference.as_str()))
    }
}

/// An id made from a tenant's own name of something.
fn derived(kind: &[u8], tenant: TenantId, name: &str) -> Uuid {
    let hash = Sha256::new()
        .chain_update(kind)
        .chain_update(tenant.0.as_bytes())
        .chain_update(name)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl EntryId {
    /// The id of entry `seq` of a pool, booked at `at`: a UUIDv7 whose random part is the pool's
    /// own number plus `seq`.
    #[must_use]
    pub fn of(pool: PoolId, seq: i64, at: Time) -> Self {
        let offset = u128::from(seq.unsigned_abs());
        let free = pool.spread().wrapping_add(offset) & FREE_BITS;
        let millis = u128::from(at.timestamp_millis().unsigned_abs()) & 0xffff_ffff_ffff;
        let bits = millis.checked_shl(80).unwrap_or_default()
            | (0x7_u128).checked_shl(76).unwrap_or_default()
            | ((free.checked_shr(62).unwrap_or_default()) & 0xfff)
                .checked_shl(64)
                .unwrap_or_default()
            | (0b10_u128).checked_shl(62).unwrap_or_default()
            | (free & LOW_BITS);
        Self(Uuid::from_u128(bits))
    }

    /// The number and instant of the entry in `pool` that has this id, if it is one of that pool's.
    /// The caller still compares the instant with the entry it finds.
    #[must_use]
    pub fn locate(self, pool: PoolId) -> Option<(i64, Time)> {
        let bits = self.0.as_u128();
        let high = bits.checked_shr(64)? & 0xfff;
        let free = high.checked_shl(62)? | (bits & LOW_BITS);
        let seq = i64::try_from(free.wrapping_sub(pool.spread()) & FREE_BITS).ok()?;
        let millis = i64::try_from(bits.checked_shr(80)?).ok()?;
        let at = DateTime::from_timestamp_millis(millis)?;
        (Self::of(pool, seq, at) == self).then_some((seq, at))
    }
}

/// Whose credits a pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PoolKind {
    /// A workspace in the cloud.
    Workspace,
    /// A self-hosted installation.
    Instance,
}

impl PoolKind {
    /// The word used in names and paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Instance => "instance",
        }
    }

    /// The plan a pool falls to when its licence ends.
    #[must_use]
    pub const fn free_plan(self) -> &'static str {
        match self {
            Self::Workspace => "free",
            Self::Instance => "basic",
        }
    }
}

/// A pool's name: `workspace:<id>` or `instance:<id>`, `<id>` the client's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolName {
    kind: PoolKind,
    id: Arc<str>,
}

impl PoolName {
    /// A name of a kind and the client's id.
    ///
    /// # Errors
    /// The id is not 1–128 of `A-Z a-z 0-9 . _ -`.
    pub fn new(kind: PoolKind, id: &str) -> Result<Self, TextError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if id.is_empty() || id.len() > 128 || !id.bytes().all(good) {
            return Err(TextError::PoolName);
        }
        Ok(Self {
            kind,
            id: id.into(),
        })
    }

    /// Workspace or instance.
    #[must_use]
    pub const fn kind(&self) -> PoolKind {
        self.kind
    }

    /// The client's own id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl FromStr for PoolName {
    type Err = TextError;

    fn from_str(name: &str) -> Result<Self, TextError> {
        match name.split_once(':') {
            Some(("workspace", id)) => Self::new(PoolKind::Workspace, id),
            Some(("instance", id)) => Self::new(PoolKind::Instance, id),
            _ => Err(TextError::PoolName),
        }
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.id)
    }
}

impl Serialize for PoolName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str) -> PoolId {
        PoolId::of(
            TenantId(Uuid::from_u128(7)),
            &name.parse().expect("a good name"),
        )
    }

    #[test]
    fn a_pool_name_is_a_kind_and_a_plain_id() {
        for good in ["workspace:6f1c", "instance:a.B_c-9"] {
            assert_eq!(good.parse::<PoolName>().expect(good).to_string(), good);
        }
        let long = format!("workspace:{}", "x".repeat(129));
        for bad in [
            "",
            "workspace:",
            "user:1",
            "workspace:a/b",
            "workspace:a\0",
            "6f1c",
            &long,
        ] {
            assert_eq!(bad.parse::<PoolName>(), Err(TextError::PoolName), "{bad:?}");
        }
    }

    #[test]
    fn a_pool_id_depends_on_tenant_kind_and_id() {
        let other_tenant = PoolId::of(
            TenantId(Uuid::from_u128(8)),
            &"workspace:a".parse().expect(""),
        );
        assert_eq!(pool("workspace:a"), pool("workspace:a"));
        assert_ne!(pool("workspace:a"), pool("instance:a"));
        assert_ne!(pool("workspace:a"), other_tenant);
    }

    #[test]
    fn an_imported_payment_has_one_id_in_each_tenant() {
        let label = |text: &str| text.parse::<Label>().expect("a good reference");
        let id = |tenant, reference| {
            PurchaseId::of_imported(TenantId(Uuid::from_u128(tenant)), &label(reference))
        };
        assert_eq!(id(7, "pi_1"), id(7, "pi_1"));
        assert_ne!(id(7, "pi_1"), id(7, "pi_2"));
        assert_ne!(id(7, "pi_1"), id(8, "pi_1"));
    }

    #[test]
    fn an_entry_id_tells_its_number_to_its_own_pool_only() {
        let (mine, other) = (pool("workspace:a"), pool("workspace:b"));
        let at = DateTime::from_timestamp_millis(1_769_853_600_123).expect("a time");
        for seq in [1, 2, 77, 1_000_000_000_000] {
            let id = EntryId::of(mine, seq, at);
            assert_eq!(id.uuid().get_version_num(), 7);
            assert_eq!(id.locate(mine), Some((seq, at)));
            assert_ne!(id.locate(other), Some((seq, at)));
        }
    }
}
