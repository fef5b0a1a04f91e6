//! What a key may do.

use std::fmt;
use std::str::FromStr;

/// One thing a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Every read but those of keys and tenants.
    BalancesRead,
    /// Debits.
    DebitsWrite,
    /// Purchases.
    PurchasesWrite,
    /// Pools and test clocks.
    PoolsWrite,
    /// Plans, operations and add-on terms.
    CatalogWrite,
    /// The tenant's keys.
    KeysWrite,
    /// All of it, and adjustments.
    Admin,
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

/// A word that is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be of balances:read, debits:write, purchases:write, pools:write, catalog:write, \
     keys:write, admin"
)]
pub struct UnknownScope;

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 7] = [
        Self::BalancesRead,
        Self::DebitsWrite,
        Self::PurchasesWrite,
        Self::PoolsWrite,
        Self::CatalogWrite,
        Self::KeysWrite,
        Self::Admin,
    ];

    /// The word in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BalancesRead => "balances:read",
            Self::DebitsWrite => "debits:write",
            Self::PurchasesWrite => "purchases:write",
            Self::PoolsWrite => "pools:write",
            Self::CatalogWrite => "catalog:write",
            Self::KeysWrite => "keys:write",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::BalancesRead => 1,
            Self::DebitsWrite => 1 << 1,
            Self::PurchasesWrite => 1 << 2,
            Self::PoolsWrite => 1 << 3,
            Self::CatalogWrite => 1 << 4,
            Self::KeysWrite => 1 << 5,
            Self::Admin => 1 << 6,
        }
    }
}

impl Scopes {
    /// Whether they let a key do this: it is among them, or `admin` is.
    #[must_use]
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.0 & scope.bit() != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or(UnknownScope)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_allows_its_scopes_and_admin_allows_all() {
        let some: Scopes = [Scope::DebitsWrite, Scope::BalancesRead]
            .into_iter()
            .collect();
        assert!(some.allow(Scope::DebitsWrite) && some.allow(Scope::BalancesRead));
        assert!(!some.allow(Scope::PoolsWrite) && !some.allow(Scope::Admin));
        let admin: Scopes = [Scope::Admin].into_iter().collect();
        assert!(Scope::ALL.into_iter().all(|scope| admin.allow(scope)));
        assert!(
            Scope::ALL
                .into_iter()
                .all(|scope| !Scopes::default().allow(scope))
        );
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        assert_eq!("debits:read".parse::<Scope>(), Err(UnknownScope));
    }
}
