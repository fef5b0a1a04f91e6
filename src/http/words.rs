//! Words of the API: those of the ledger as the OpenAPI document shows them, and our own.
//!
//! The ledger's values are its own types, which know nothing of documents; only their schemas are
//! here.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident as $shown:ident { $($(#[$said:meta])* $word:ident,)+ })+) => {
        $(
            $(#[$doc])*
            #[derive(ToSchema)]
            #[schema(as = $shown, rename_all = "snake_case")]
            #[expect(dead_code, reason = "only its schema is used")]
            pub enum $name {
                $($(#[$said])* $word,)+
            }
        )+
    };
}

words! {
    /// How an amount is brought to a multiple of the denomination: to the next one above, or to
    /// the nearest, halves up.
    RoundWord as Round {
        /// To the next multiple above.
        Up,
        /// To the nearest multiple, halves up.
        Nearest,
    }
    /// What happens when the pool is short: `strict` is refused, `settle` is booked all the same.
    ModeWord as Mode {
        /// The debit is refused.
        Strict,
        /// The debit is booked; what is missing becomes overdraft.
        Settle,
    }
    /// How often the customer pays. Credits renew monthly all the same.
    TermWord as Term {
        /// Every month.
        Monthly,
        /// Once a year.
        Annual,
    }
    /// What a PUT did: `increase` starts a new cycle, `decrease` waits for the renewal, `equal`
    /// applies without a new cycle, `none` repeats the last request.
    ChangeWord as Change {
        /// The pool was made.
        Created,
        /// Nothing.
        None,
        /// A larger allowance.
        Increase,
        /// A smaller allowance.
        Decrease,
        /// The allowance stays as it is.
        Equal,
    }
    /// What kind of licence it is; `business` and `enterprise` behave as `paid`. A `trial` without
    /// `expires_at` ends 14 days after the pool's first trial, ever.
    LicenseTypeWord as LicenseType {
        /// The free self-hosted edition.
        Basic,
        /// A trial.
        Trial,
        /// Paid.
        Paid,
        /// Behaves as paid.
        Business,
        /// Behaves as paid.
        Enterprise,
    }
    /// What kind of licence is issued. A `trial` without `expires_at` ends 14 days after the pool's
    /// first trial, ever.
    IssuedTypeWord as IssuedLicenseType {
        /// The free self-hosted edition.
        Basic,
        /// A trial.
        Trial,
        /// Paid.
        Paid,
    }
    /// What a licence is now.
    LicenseStatusWord as LicenseStatus {
        /// There is none.
        None,
        /// In force.
        Active,
        /// Expired, still honoured.
        Grace,
        /// Over.
        Expired,
    }
    /// What became of a hold.
    HoldStatusWord as HoldStatus {
        /// Its credits are reserved.
        Open,
        /// Work was debited from it, or from the pool when that came too late.
        Captured,
        /// It was given up.
        Released,
        /// It reached its end and was given up by itself.
        Expired,
    }
    /// One of the two buckets of spendable credits.
    BucketWord as Bucket {
        /// The current cycle's credits.
        Monthly,
        /// Add-on credits.
        Addon,
    }
}

/// Whether a pool takes writes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PoolStatus)]
pub enum StatusWord {
    /// It does.
    Active,
    /// It is frozen.
    Closed,
}

/// The seats a licence allows; shown, not enforced.
#[derive(ToSchema)]
#[schema(as = LicenseLimits)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct LimitsShape {
    /// All users.
    users: Option<SeatsShape>,
    /// Users who build.
    builders: Option<SeatsShape>,
    /// Users who only use what was built.
    end_users: Option<SeatsShape>,
}

/// A count of seats.
pub struct SeatsShape;

impl PartialSchema for SeatsShape {
    fn schema() -> RefOr<Schema> {
        let count = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0));
        let word = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["unlimited"]));
        OneOfBuilder::new()
            .description(Some(
                "A number of seats, or `unlimited` (read in any case).",
            ))
            .item(count)
            .item(word)
            .into()
    }
}

impl ToSchema for SeatsShape {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Seats")
    }
}
