//! Usage of a cycle in ToolJet's shape: by user, and by organization within a user.
//!
//! Everything is added up from the same rows, so users and what no user is known of are the pool's
//! own figures exactly.

use serde::Serialize;
use utoipa::ToSchema;

use super::time::Stamp;
use super::tooljet::Figures;
use crate::ledger::Time;
use crate::store::{UsageGroups, UsageRow};

/// A pool's usage in the current cycle, in ToolJet's shape.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ToolJetUsage)]
pub struct UsageBody {
    /// When the cycle began.
    cycle_start: Stamp,
    /// The first entry of the pool that names a user; null when there is none.
    tracking_since: Option<Stamp>,
    /// By user, ordered by their ids.
    users: Vec<UserUsage>,
    /// What no user is known of.
    unattributed: Figures,
    /// All of it.
    pool: Figures,
}

/// What a user spent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ToolJetUserUsage)]
struct UserUsage {
    /// The client's user.
    user_id: String,
    #[serde(flatten)]
    spent: Figures,
    /// The same by organization, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_organization: Option<Vec<OrganizationUsage>>,
}

/// What a user spent in one organization.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ToolJetOrganizationUsage)]
struct OrganizationUsage {
    /// The workspace that the debits name; null for those that name none.
    organization_id: Option<String>,
    #[serde(flatten)]
    spent: Figures,
}

impl UsageBody {
    /// Adds up rows that are ordered by user.
    #[must_use]
    pub fn new(
        cycle_start: Time,
        tracking_since: Option<Time>,
        rows: Vec<UsageRow>,
        groups: UsageGroups,
    ) -> Self {
        let mut body = Self {
            cycle_start: Stamp(cycle_start),
            tracking_since: tracking_since.map(Stamp),
            users: Vec::new(),
            unattributed: Figures::default(),
            pool: Figures::default(),
        };
        for row in rows {
            body.add(row, groups);
        }
        body
    }

    fn add(&mut self, row: UsageRow, groups: UsageGroups) {
        let spent = Figures::new(row.recurring.signed(), row.topup.signed());
        self.pool = self.pool.plus(spent);
        let Some(user_id) = row.user_id else {
            self.unattributed = self.unattributed.plus(spent);
            return;
        };
        if self.users.last().is_none_or(|last| last.user_id != user_id) {
            let by_organization = match groups {
                UsageGroups::Users => None,
                UsageGroups::UsersAndWorkspaces => Some(Vec::new()),
            };
            self.users.push(UserUsage {
                user_id,
                spent: Figures::default(),
                by_organization,
            });
        }
        let user = self.users.last_mut().expect("a user was just pushed");
        user.spent = user.spent.plus(spent);
        if let Some(organizations) = &mut user.by_organization {
            organizations.push(OrganizationUsage {
                organization_id: row.workspace_id,
                spent,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Credits;

    fn row(user: Option<&str>, workspace: Option<&str>, recurring: u32, topup: u32) -> UsageRow {
        UsageRow {
            user_id: user.map(str::to_owned),
            workspace_id: workspace.map(str::to_owned),
            recurring: Credits::whole(recurring),
            topup: Credits::whole(topup),
        }
    }

    fn body(rows: Vec<UsageRow>, groups: UsageGroups) -> serde_json::Value {
        let start = "2026-01-31T10:00:00Z".parse().expect("a time");
        let body = UsageBody::new(start, None, rows, groups);
        serde_json::to_value(body).expect("a body")
    }

    #[test]
    fn users_and_unattributed_are_the_pool() {
        let rows = vec![
            row(Some("a"), None, 5, 1),
            row(Some("b"), None, 7, 0),
            row(None, None, 2, 3),
        ];
        let json = body(rows, UsageGroups::Users);
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
        let rows = vec![
            row(Some("a"), Some("w-1"), 5, 0),
            row(Some("a"), None, 2, 1),
        ];
        let json = body(rows, UsageGroups::UsersAndWorkspaces);
        assert_eq!(json["users"].as_array().map(Vec::len), Some(1));
        assert_eq!(json["users"][0]["total"], 8);
        let organizations = serde_json::json!([
            {"organizationId": "w-1", "recurring": 5, "topup": 0, "total": 5},
            {"organizationId": null, "recurring": 2, "topup": 1, "total": 3},
        ]);
        assert_eq!(json["users"][0]["byOrganization"], organizations);
    }
}
