//! Migrations, and the role the service runs as: it may add to the journal, never change it.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use std::str::FromStr;

use super::StoreError;
use super::append::PAYMENT_COLUMNS;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// What the service runs as. It owns nothing and cannot log in.
const ROLE: &str = "credit_ledger_app";
/// How often to try again when another service changes the cluster's roles at the same time.
const ROLE_ATTEMPTS: u32 = 20;

/// Brings the schema up to date as the user of `url`, and gives the role its rights. The user of
/// `service_url`, which may be another, is let run as that role.
///
/// Gives the role to run as, or `None` where it cannot be made: then the journal is protected by
/// the chain alone, and a warning says so.
///
/// # Errors
/// The database is away, a lock was not given within seconds, or a migration failed.
pub async fn migrate(url: &str, service_url: &str) -> Result<Option<&'static str>, StoreError> {
    let options = PgConnectOptions::from_str(url)?.application_name("credit-ledger migrate");
    let mut connection = PgConnection::connect_with(&options).await?;
    // Fail rather than queue: a migration that waits for a lock makes everybody behind it wait too.
    let service_user = PgConnectOptions::from_str(service_url)?
        .get_username()
        .to_owned();
    connection.execute("SET lock_timeout = '5s'").await?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(|error| StoreError::Migration(Box::new(error)))?;
    let role = match grant_role(&mut connection, &service_user).await {
        Ok(()) => Some(ROLE),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the role {ROLE} cannot be made; running as the tables' owner"
            );
            None
        }
    };
    connection.close().await?;
    Ok(role)
}

/// Whether every migration this service knows is there. A newer schema is fine.
pub(super) async fn schema_is_current(pool: &PgPool) -> Result<bool, StoreError> {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max();
    let applied: Result<Option<i64>, sqlx::Error> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(pool)
            .await;
    match applied {
        Ok(applied) => Ok(applied >= newest),
        // No table of migrations: none was applied.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The role of a database that is migrated by somebody else, if this user may take it.
///
/// # Errors
/// The database is away.
pub async fn existing_role(url: &str) -> Result<Option<&'static str>, StoreError> {
    let mut connection = PgConnection::connect(url).await?;
    let may: bool = sqlx::query_scalar(
        "SELECT EXISTS (
            SELECT FROM pg_roles WHERE rolname = $1 AND pg_has_role(current_user, oid, 'MEMBER')
        )",
    )
    .bind(ROLE)
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(may.then_some(ROLE))
}

/// Roles are shared by all databases of a cluster, so another service may be doing the same.
async fn grant_role(connection: &mut PgConnection, service_user: &str) -> Result<(), sqlx::Error> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match try_grant_role(connection, service_user).await {
            Err(error) if attempt < ROLE_ATTEMPTS && is_race(&error) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            result => return result,
        }
    }
}

fn is_race(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    // Made by another at the same time, or its catalogue row changed under us.
    matches!(
        code.as_deref(),
        Some("42710" | "23505" | "XX000" | "40P01" | "55P03")
    )
}

async fn try_grant_role(
    connection: &mut PgConnection,
    service_user: &str,
) -> Result<(), sqlx::Error> {
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
            .bind(ROLE)
            .fetch_one(&mut *connection)
            .await?;
    if !exists {
        connection
            .execute(AssertSqlSafe(format!("CREATE ROLE {ROLE} NOLOGIN")))
            .await?;
    }
    allow_user(connection, service_user).await?;
    let mut tx = connection.begin().await?;
    let rights = [
        format!("GRANT USAGE ON SCHEMA public TO {ROLE}"),
        format!("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {ROLE}"),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ROLE}"),
        format!("GRANT INSERT ON entries, refunds, usage_lines, purchases TO {ROLE}"),
        // What was bought stays; only what became of its payment changes.
        format!("GRANT UPDATE ({PAYMENT_COLUMNS}) ON purchases TO {ROLE}"),
        format!("GRANT INSERT, UPDATE ON usage_heads TO {ROLE}"),
        format!(
            "GRANT INSERT, UPDATE ON pools, holds, tenants, api_keys, plans, operations, \
             addon_terms, test_clocks TO {ROLE}"
        ),
        format!("GRANT INSERT ON plan_versions, imports TO {ROLE}"),
        format!("GRANT UPDATE (at) ON imports TO {ROLE}"),
        format!("GRANT INSERT, DELETE ON payment_claims, promo_redemptions TO {ROLE}"),
        format!("GRANT INSERT, UPDATE ON stripe_settings, promo_codes TO {ROLE}"),
        format!("GRANT INSERT, UPDATE, DELETE ON checkouts, license_keys TO {ROLE}"),
        format!(
            "GRANT INSERT, UPDATE ON payments, payment_disputes, payment_events, \
             payment_exceptions TO {ROLE}"
        ),
    ];
    for right in rights {
        tx.execute(AssertSqlSafe(right)).await?;
    }
    tx.commit().await
}

/// Lets a user take the role, unless it may already.
async fn allow_user(connection: &mut PgConnection, user: &str) -> Result<(), sqlx::Error> {
    let may: bool = sqlx::query_scalar("SELECT pg_has_role($1::name, $2::name, 'MEMBER')")
        .bind(user)
        .bind(ROLE)
        .fetch_one(&mut *connection)
        .await?;
    if !may {
        let quoted = format!("\"{}\"", user.replace('"', "\"\""));
        connection
            .execute(AssertSqlSafe(format!("GRANT {ROLE} TO {quoted}")))
            .await?;
    }
    Ok(())
}
