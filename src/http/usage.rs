//! Who spent what, and on what: figures of a pool's journal between two entries.
//!
//! Everything is added up from the same entries, so the groups are the pool's own figures exactly.
//! What is due is booked first. How it is added up fast is the store's.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{self, Number};
use super::auth::{PoolScope, scope};
use super::extract::{Query, Violations};
use super::problem::Problem;
use super::reading::{self, Current};
use super::time::Stamp;
use crate::ledger::{Label, SignedCredits, Time, UsageFigures};
use crate::store::{UsageBy, UsageFilter, UsageGroups};

/// The most groups of an answer.
const MOST_GROUPS: usize = 10_000;

/// The route of usage.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_usage))
}

/// Of which entries usage is wanted, and how it is split.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// Only at this instant or later. When left out: every entry after the one that opened the
    /// current cycle, by their order in the journal.
    from: Option<Stamp>,
    /// Only before this instant, which may be in the future. When left out: up to now, the last
    /// entry included.
    to: Option<Stamp>,
    /// Only what this user caused.
    user_id: Option<String>,
    /// Only of this operation.
    operation: Option<String>,
    /// What to split it by; there are no `groups` when left out.
    #[param(inline)]
    group_by: Option<GroupBy>,
}

/// What usage can be split by.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum GroupBy {
    /// By the operation's code.
    Operation,
    /// By the client's user.
    User,
    /// By the client's workspace.
    Workspace,
    /// By model.
    Model,
    /// By UTC day.
    Day,
}

/// A pool's usage.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
struct UsageBody {
    /// From when on; the start of the cycle when that was left out.
    from: Stamp,
    /// Until when; now when that was left out.
    to: Stamp,
    /// All of it.
    pool: FiguresBody,
    /// By what was asked for, the largest total first; they add up to `pool`.
    groups: Vec<GroupBody>,
}

/// What was spent, less what refunds gave back: so a figure is negative where refunds of earlier
/// debits are larger.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = UsageFigures)]
struct FiguresBody {
    /// Out of the monthly bucket.
    #[schema(value_type = Number)]
    monthly: SignedCredits,
    /// Out of the add-on bucket.
    #[schema(value_type = Number)]
    addon: SignedCredits,
    /// Beyond both.
    #[schema(value_type = Number)]
    overdraft: SignedCredits,
    /// All of it.
    #[schema(value_type = Number)]
    total: SignedCredits,
    /// How many debits.
    count: i64,
}

/// The part of usage that has something in common.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageGroup)]
struct GroupBody {
    /// The operation, user, workspace, model or day (as `2026-01-31`); null, once at most and at
    /// the end, for what has none.
    key: Option<String>,
    #[serde(flatten)]
    figures: FiguresBody,
}

/// Which entries, and between which instants those are said to be.
struct Window {
    from: Time,
    to: Time,
    first: i64,
    last: i64,
}

impl From<GroupBy> for UsageBy {
    fn from(by: GroupBy) -> Self {
        match by {
            GroupBy::Operation => Self::Operation,
            GroupBy::User => Self::User,
            GroupBy::Workspace => Self::Workspace,
            GroupBy::Model => Self::Model,
            GroupBy::Day => Self::Day,
        }
    }
}

impl From<UsageFigures> for FiguresBody {
    fn from(figures: UsageFigures) -> Self {
        Self {
            monthly: figures.monthly,
            addon: figures.addon,
            overdraft: figures.overdraft,
            total: figures.total(),
            count: figures.count,
        }
    }
}

impl UsageBody {
    fn new(window: &Window, groups: UsageGroups, is_split: bool) -> Self {
        let mut pool = UsageFigures::default();
        let mut bodies = Vec::with_capacity(groups.len());
        for ((key, _), figures) in groups {
            pool += figures;
            let figures = figures.into();
            bodies.push(GroupBody { key, figures });
        }
        let place = |group: &GroupBody| (group.key.is_none(), -group.figures.total.units());
        bodies.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.key.cmp(&b.key)));
        Self {
            from: Stamp(window.from),
            to: Stamp(window.to),
            pool: pool.into(),
            groups: if is_split { bodies } else { Vec::new() },
        }
    }
}

impl UsageQuery {
    fn filter(&self) -> Result<UsageFilter, Problem> {
        let mut violations = Violations::new();
        let mut label = |field, text: &Option<String>| {
            violations.take(field, text.clone().map(Label::try_from))
        };
        let filter = UsageFilter {
            user_id: label("user_id", &self.user_id),
            operation: label("operation", &self.operation),
        };
        violations.finish()?;
        Ok(filter)
    }

    /// Instants are turned into numbers: entries of a pool are ordered in time (invariant ordered).
    async fn window(&self, app: &App, current: &Current) -> Result<Window, Problem> {
        let pool = current.pool();
        let from = self.from.map_or(pool.cycle.start, Time::from);
        let to = self.to.map_or(current.now, Time::from);
        if from > to {
            return Err(Problem::invalid(
                "from",
                "must not be later than `to` (left out, they are the cycle's start and now)",
            ));
        }
        let first = match self.from {
            Some(Stamp(instant)) => app.store.first_since(pool.id, instant).await?,
            None => pool.cycle_seq.saturating_add(1),
        };
        let end = match self.to {
            Some(Stamp(instant)) => app.store.first_since(pool.id, instant).await?,
            None => i64::MAX,
        };
        let last = end.saturating_sub(1).min(pool.seq);
        Ok(Window {
            from,
            to,
            first,
            last,
        })
    }
}

/// Reads a pool's usage
///
/// What debits spent, by the buckets the credits came from, less what refunds gave back; a capture
/// counts when it is booked. Without `from` and `to` it is that of the current cycle. At most
/// 10,000 groups are answered: a window that has more is refused and has to be made smaller.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/usage",
    tag = "usage",
    params(("pool" = String, Path), UsageQuery),
    responses((status = 200, description = "The usage", body = UsageBody))
)]
pub async fn get_usage(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    Query(query): Query<UsageQuery>,
) -> Result<Response, Problem> {
    let filter = query.filter()?;
    let current = reading::booked(&app, caller.tenant, &pool).await?;
    let window = query.window(&app, &current).await?;
    let by = query.group_by.map_or(UsageBy::Nothing, UsageBy::from);
    let entries = window.first..=window.last;
    let id = current.pool().id;
    let groups = app.store.usage(id, entries, &filter, by, MOST_GROUPS);
    let groups = groups.await?.ok_or_else(|| {
        let message = format!("has more than {MOST_GROUPS} groups in this window");
        Problem::invalid("group_by", message)
    })?;
    let body = UsageBody::new(&window, groups, query.group_by.is_some());
    Ok(answer::ok(&body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(units: i64) -> UsageFigures {
        UsageFigures {
            monthly: SignedCredits::from_units(units),
            count: 1,
            ..UsageFigures::default()
        }
    }

    #[test]
    fn groups_are_ordered_by_total_then_key_and_what_has_none_is_last() {
        let key = |text: &str| (Some(text.to_owned()), None);
        let groups = UsageGroups::from([
            (key("b"), figures(500)),
            ((None, None), figures(900)),
            (key("a"), figures(500)),
            (key("c"), figures(-200)),
            (key("d"), figures(700)),
        ]);
        let at = |text: &str| text.parse().expect("a time");
        let window = Window {
            from: at("2026-01-31T10:00:00Z"),
            to: at("2026-02-28T10:00:00Z"),
            first: 1,
            last: 9,
        };
        let body = UsageBody::new(&window, groups.clone(), true);
        let json = serde_json::to_value(body).expect("a body");
        let keys: Vec<_> = json["groups"]
            .as_array()
            .expect("groups")
            .iter()
            .map(|group| group["key"].clone())
            .collect();
        assert_eq!(
            serde_json::json!(keys),
            serde_json::json!(["d", "a", "b", "c", null])
        );
        assert_eq!(json["pool"]["total"], 24);
        assert_eq!(json["pool"]["count"], 5);
        assert_eq!(json["from"], "2026-01-31T10:00:00.000Z");
        assert!(UsageBody::new(&window, groups, false).groups.is_empty());
    }
}
