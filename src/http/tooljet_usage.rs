//! Usage of a cycle in ToolJet's shape: by user, and by organization within a user.
//!
//! Everything is added up from the same figures, so users and what no user is known of are the
//! pool's own figures exactly. Where they come from is in [`cycles`](super::tooljet_cycles).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::time::Stamp;
use super::tooljet::Figures;
use super::tooljet_cycles::CycleUsage;
use crate::ledger::UsageFigures;

/// Whether the usage of a user is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// It is not.
    Users,
    /// By organization.
    Organizations,
}

impl Split {
    /// Where what is kept of it lies.
    pub const fn place(self) -> usize {
        match self {
            Self::Users => 0,
            Self::Organizations => 1,
        }
    }
}

/// A pool's usage in the current cycle, in ToolJet's shape.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ToolJetUsage)]
pub struct UsageBody<'a> {
    /// When the cycle began.
    cycle_start: Stamp,
    /// The first entry of the pool that names a user; null when there is none.
    tracking_since: Option<Stamp>,
    /// By user, ordered by their ids.
    #[schema(value_type = Vec<UserUsage>)]
    users: Vec<&'a RawValue>,
    /// What no user is known of.
    unattributed: Figures,
    /// All of it.
    pool: Figures,
}

/// What a user spent, less what refunds returned.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ToolJetUserUsage)]
struct UserUsage<'a> {
    /// The client's user.
    user_id: &'a str,
    #[serde(flatten)]
    spent: Figures,
    /// The same by organization, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_organization: Option<Vec<OrganizationUsage<'a>>>,
}

/// What a user spent in one organization.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ToolJetOrganizationUsage)]
struct OrganizationUsage<'a> {
    /// The workspace that the debits name; null for those that name none.
    organization_id: Option<&'a str>,
    #[serde(flatten)]
    spent: Figures,
}

impl From<UsageFigures> for Figures {
    fn from(figures: UsageFigures) -> Self {
        Self::new(figures.recurring(), figures.topup())
    }
}

impl<'a> UsageBody<'a> {
    /// The body of a cycle's usage. What is kept of users as JSON is used, what is missing added.
    #[must_use]
    pub fn new(cycle: &'a mut CycleUsage, split: Split) -> Self {
        for (user_id, user) in &mut cycle.users {
            if user.json[split.place()].is_none() {
                let body = UserUsage::new(user_id, &user.workspaces, split);
                let json = to_raw_value(&body).expect("our own bodies have a JSON text");
                user.json[split.place()] = Some(json);
            }
        }
        let users = cycle.users.values();
        let users = users.filter_map(|user| user.json[split.place()].as_deref());
        Self {
            cycle_start: Stamp(cycle.cycle_start),
            tracking_since: cycle.tracking_since.map(Stamp),
            users: users.collect(),
            unattributed: cycle.unattributed.into(),
            pool: cycle.pool.into(),
        }
    }
}

impl<'a> UserUsage<'a> {
    fn new(
        user_id: &'a str,
        workspaces: &'a BTreeMap<Option<String>, UsageFigures>,
        split: Split,
    ) -> Self {
        let mut spent = UsageFigures::default();
        for figures in workspaces.values() {
            spent += *figures;
        }
        let by_organization = || {
            let body = |(id, figures): (&'a Option<String>, &UsageFigures)| OrganizationUsage {
                organization_id: id.as_deref(),
                spent: (*figures).into(),
            };
            // What names none is last.
            let named = workspaces.iter().filter(|(id, _)| id.is_some());
            let unnamed = workspaces.iter().filter(|(id, _)| id.is_none());
            named.chain(unnamed).map(body).collect()
        };
        Self {
            user_id,
            spent: spent.into(),
            by_organization: (split == Split::Organizations).then(by_organization),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Credits;

    fn figures(monthly: u32, addon: u32) -> UsageFigures {
        UsageFigures {
            monthly: Credits::whole(monthly).signed(),
            addon: Credits::whole(addon).signed(),
            count: 1,
            ..UsageFigures::default()
        }
    }

    fn body(
        rows: &[(Option<&str>, Option<&str>, UsageFigures)],
        split: Split,
    ) -> serde_json::Value {
        let start = "2026-01-31T10:00:00Z".parse().expect("a time");
        let mut cycle = CycleUsage::empty(start);
        for (user, organization, figures) in rows {
            cycle.add(
                user.map(str::to_owned),
                organization.map(str::to_owned),
                *figures,
            );
        }
        serde_json::to_value(UsageBody::new(&mut cycle, split)).expect("a body")
    }

    #[test]
    fn users_and_unattributed_are_the_pool() {
        let rows = [
            (Some("b"), None, figures(7, 0)),
            (None, None, figures(2, 3)),
            (Some("a"), None, figures(5, 1)),
        ];
        let json = body(&rows, Split::Users);
        assert_eq!(json["cycleStart"], "2026-01-31T10:00:00.000Z");
        assert_eq!(json["trackingSince"], serde_json::Value::Null);
        let user = serde_json::json!({"userId": "a", "recurring": 5, "topup": 1, "total": 6});
        assert_eq!(json["users"][0], user);
        let rest = serde_json::json!({"recurring": 2, "topup": 3, "total": 5});
        assert_eq!(json["unattributed"], rest);
        let all = serde_json::json!({"recurring": 14, "topup": 4, "total": 18});
        assert_eq!(json["pool"], all);
    }

    #[test]
    fn a_users_organizations_add_up_to_the_user() {
        let rows = [
            (Some("a"), None, figures(2, 1)),
            (Some("a"), Some("w-1"), figures(5, 0)),
        ];
        let json = body(&rows, Split::Organizations);
        assert_eq!(json["users"].as_array().map(Vec::len), Some(1));
        assert_eq!(json["users"][0]["total"], 8);
        let organizations = serde_json::json!([
            {"organizationId": "w-1", "recurring": 5, "topup": 0, "total": 5},
            {"organizationId": null, "recurring": 2, "topup": 1, "total": 3},
        ]);
        assert_eq!(json["users"][0]["byOrganization"], organizations);
    }
}
