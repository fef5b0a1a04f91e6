//! Every setting, read from the environment once, at start, and turned into a type that is good.
//!
//! Past this file nobody reads a variable or checks a setting again. A setting that is missing,
//! wrong or contradicts another stops the program with one message that names the variable;
//! messages never repeat the value of a secret.
//! The command line lives in `cli`; settings of a tenant live in the database.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use subtle::ConstantTimeEq;

mod payments;

pub use payments::{ApiBase, SecretsKey};

/// A shorter `OPERATOR_KEY` is taken with a warning, in characters.
pub const OPERATOR_KEY_MIN_CHARS: usize = 16;

/// Where Stripe is.
const STRIPE_API_BASE: &str = "https://api.stripe.com";

/// A text that must not be seen: its `Debug` hides it, and it has no `Display`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text that must not be logged.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the same text, in a time that does not tell how much of it is right.
    #[must_use]
    pub fn matches(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// All settings of one process.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATABASE_URL`, `MIGRATE_DATABASE_URL`, `EMBEDDED_POSTGRES`, `DATA_DIR`.
    pub database: Database,
    /// `AUTO_MIGRATE`, default `true`: whether `serve` applies migrations before it listens.
    pub auto_migrate: bool,
    /// `LISTEN_ADDR`, default `127.0.0.1:8080`.
    pub listen_addr: SocketAddr,
    /// `OPERATOR_KEY`, default none: printable ASCII, best [`OPERATOR_KEY_MIN_CHARS`] or more.
    pub operator_key: Option<Secret>,
    /// `LANES`, default 1: writers, each with up to five database connections of its own (1–64).
    pub lanes: usize,
    /// `BATCH_LIMIT`, default 1000: most commands in one commit (1–10,000).
    pub batch_limit: usize,
    /// `QUEUE_LIMIT`, default 10000: most commands waiting for one lane (1–1,000,000).
    pub queue_limit: usize,
    /// `READ_CONNECTIONS`, default 8: database connections for reads (1–200).
    pub read_connections: u32,
    /// `SWEEP_INTERVAL_SECONDS`, default 1: pause between looks for what is due (1–3600).
    pub sweep_interval: Duration,
    /// `DRAIN_SECONDS`, default 3: how long to serve on, not ready, after SIGTERM (0–300).
    pub drain: Duration,
    /// `SECRETS_KEY`, default none: encrypts what tenants entrust us with, and what signs licences.
    pub secrets_key: Option<SecretsKey>,
    /// `STRIPE_API_BASE`, default `https://api.stripe.com`: where Stripe is asked.
    pub stripe_api_base: ApiBase,
    /// `LOG_FORMAT`, default `text`.
    pub log_format: LogFormat,
    /// `RUST_LOG`, default `info`: which log lines are written.
    pub log_filter: String,
}

/// The database that the ledger is kept in.
#[derive(Clone, Debug)]
pub enum Database {
    /// The server that `DATABASE_URL` names.
    External {
        /// `DATABASE_URL`, for all work but migrations.
        url: Secret,
        /// `MIGRATE_DATABASE_URL`, default `DATABASE_URL`: the role that owns the tables.
        migrate_url: Secret,
    },
    /// A private server of our own, started and stopped with this process.
    Embedded {
        /// `DATA_DIR`, default `./data`.
        data_dir: PathBuf,
    },
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A variable has a value that cannot be used.
    #[error("{variable} {problem}")]
    Invalid {
        /// The variable's name.
        variable: &'static str,
        /// What is wrong with it; reads on after the name.
        problem: String,
    },
    /// There is neither a database nor leave to start one: `main` exits with 78 (EX_CONFIG).
    /// Its own case, because a lost secret must not start an empty ledger.
    #[error("DATABASE_URL is not set, and EMBEDDED_POSTGRES=off forbids a private Postgres")]
    NoDatabase,
}

impl Config {
    /// Reads the settings of this process.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used.
    pub fn from_env() -> Result<Self, ConfigError> {
        // A value that is not Unicode becomes one that no parser takes, so it is reported by name.
        Self::read(|name| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()))
    }

    /// Reads the settings through `lookup`, which gives a variable's value by its name.
    /// An empty variable counts as unset.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let env = Environment { lookup };
        Ok(Self {
            database: env.database()?,
            auto_migrate: env.switch("AUTO_MIGRATE", true)?,
            listen_addr: env.parse("LISTEN_ADDR", "127.0.0.1:8080", "an address and a port")?,
            operator_key: env.operator_key()?,
            lanes: env.number("LANES", 1, 1..=64)?,
            batch_limit: env.number("BATCH_LIMIT", 1000, 1..=10_000)?,
            queue_limit: env.number("QUEUE_LIMIT", 10_000, 1..=1_000_000)?,
            read_connections: env.number("READ_CONNECTIONS", 8, 1..=200)?,
            sweep_interval: env.seconds("SWEEP_INTERVAL_SECONDS", 1, 1..=3600)?,
            drain: env.seconds("DRAIN_SECONDS", 3, 0..=300)?,
            secrets_key: env.secrets_key()?,
            stripe_api_base: env.parse("STRIPE_API_BASE", STRIPE_API_BASE, ApiBase::WANTED)?,
            log_format: env.parse("LOG_FORMAT", "text", "text or json")?,
            log_filter: env.text("RUST_LOG").unwrap_or_else(|| "info".to_owned()),
        })
    }
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// The variables, by name, with the few ways to read one.
struct Environment<L> {
    lookup: L,
}

impl<L: Fn(&str) -> Option<String>> Environment<L> {
    fn text(&self, variable: &'static str) -> Option<String> {
        (self.lookup)(variable)
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    }

    fn parse<T: FromStr>(
        &self,
        variable: &'static str,
        default: &str,
        wanted: &str,
    ) -> Result<T, ConfigError> {
        let text = self.text(variable).unwrap_or_else(|| default.to_owned());
        text.parse()
            .map_err(|_| invalid(variable, format!("must be {wanted}, not {text:?}")))
    }

    fn number<T: FromStr + PartialOrd + fmt::Display>(
        &self,
        variable: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.parse(variable, &default.to_string(), &wanted)?;
        if range.contains(&number) {
            Ok(number)
        } else {
            Err(invalid(variable, format!("must be {wanted}, not {number}")))
        }
    }

    fn seconds(
        &self,
        variable: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        self.number(variable, default, range)
            .map(Duration::from_secs)
    }

    fn switch(&self, variable: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self
            .text(variable)
            .map(|text| text.to_ascii_lowercase())
            .as_deref()
        {
            None => Ok(default),
            Some("true" | "on" | "yes" | "1") => Ok(true),
            Some("false" | "off" | "no" | "0") => Ok(false),
            Some(text) => Err(invalid(
                variable,
                format!("must be on or off, not {text:?}"),
            )),
        }
    }

    fn database(&self) -> Result<Database, ConfigError> {
        let embedded = self.switch("EMBEDDED_POSTGRES", true)?;
        let url = self.database_url("DATABASE_URL")?;
        let migrate_url = self.database_url("MIGRATE_DATABASE_URL")?;
        match (url, migrate_url) {
            (Some(url), migrate_url) => Ok(Database::External {
                migrate_url: migrate_url.unwrap_or(url.clone()),
                url,
            }),
            (None, Some(_)) => {
                let problem = "is set, but DATABASE_URL is not: set both or neither";
                Err(invalid("MIGRATE_DATABASE_URL", problem.to_owned()))
            }
            (None, None) if !embedded => Err(ConfigError::NoDatabase),
            (None, None) => {
                let data_dir = self.text("DATA_DIR").unwrap_or_else(|| "./data".to_owned());
                Ok(Database::Embedded {
                    data_dir: PathBuf::from(data_dir),
                })
            }
        }
    }

    /// Checks the scheme alone: the driver knows the rest, and a password must not be echoed.
    fn database_url(&self, variable: &'static str) -> Result<Option<Secret>, ConfigError> {
        match self.text(variable) {
            None => Ok(None),
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Ok(Some(Secret::new(url)))
            }
            Some(_) => Err(invalid(variable, "must begin with postgres://".to_owned())),
        }
    }

    fn operator_key(&self) -> Result<Option<Secret>, ConfigError> {
        let Some(key) = self.text("OPERATOR_KEY") else {
            return Ok(None);
        };
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = "must be printable ASCII characters without spaces".to_owned();
            return Err(invalid("OPERATOR_KEY", problem));
        }
        Ok(Some(Secret::new(key)))
    }

    /// Its message does not say what was given.
    fn secrets_key(&self) -> Result<Option<SecretsKey>, ConfigError> {
        let key = self.text("SECRETS_KEY").map(|text| text.parse());
        let key = key.transpose();
        key.map_err(|()| invalid("SECRETS_KEY", "must be base64 of 32 bytes".to_owned()))
    }
}

fn invalid(variable: &'static str, problem: String) -> ConfigError {
    ConfigError::Invalid { variable, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0123456789abcdef0123456789abcdef
    const SECRETS_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(|name| {
            settings
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    fn read_good(settings: &[(&str, &str)]) -> Config {
        read(settings).expect("these settings are good")
    }

    fn message(settings: &[(&str, &str)]) -> String {
        read(settings)
            .expect_err("these settings are refused")
            .to_string()
    }

    #[test]
    fn nothing_set_means_the_documented_defaults() {
        let config = read_good(&[]);

        assert!(matches!(&config.database,
            Database::Embedded { data_dir } if data_dir.to_str() == Some("./data")));
        assert!(config.auto_migrate);
        assert_eq!(config.listen_addr.to_string(), "127.0.0.1:8080");
        assert!(config.operator_key.is_none());
        assert_eq!(
            (config.lanes, config.batch_limit, config.queue_limit),
            (1, 1000, 10_000)
        );
        assert_eq!(config.read_connections, 8);
        assert_eq!(config.sweep_interval, Duration::from_secs(1));
        assert_eq!(config.drain, Duration::from_secs(3));
        assert!(config.secrets_key.is_none());
        assert_eq!(config.stripe_api_base.as_str(), "https://api.stripe.com");
        assert_eq!(config.log_format, LogFormat::Text);
        assert_eq!(config.log_filter, "info");
    }

    #[test]
    fn every_setting_is_taken_from_its_variable() {
        let config = read_good(&[
            ("DATABASE_URL", "postgres://app:pw@db/credits"),
            ("MIGRATE_DATABASE_URL", "postgresql://owner:pw@db/credits"),
            ("EMBEDDED_POSTGRES", "off"),
            ("AUTO_MIGRATE", "false"),
            ("LISTEN_ADDR", "0.0.0.0:9000"),
            ("OPERATOR_KEY", "0123456789abcdef"),
            ("LANES", "64"),
            ("BATCH_LIMIT", "1"),
            ("QUEUE_LIMIT", "5"),
            ("READ_CONNECTIONS", "200"),
            ("SWEEP_INTERVAL_SECONDS", "60"),
            ("DRAIN_SECONDS", "0"),
            ("SECRETS_KEY", SECRETS_KEY),
            ("STRIPE_API_BASE", "http://127.0.0.1:9/"),
            ("LOG_FORMAT", "json"),
            ("RUST_LOG", "debug"),
        ]);

        assert!(
            matches!(&config.database, Database::External { url, migrate_url }
            if url.expose().contains("app") && migrate_url.expose().contains("owner"))
        );
        assert!(!config.auto_migrate);
        assert_eq!(config.listen_addr.port(), 9000);
        assert!(
            config
                .operator_key
                .is_some_and(|key| key.matches("0123456789abcdef"))
        );
        assert_eq!(
            (config.lanes, config.batch_limit, config.queue_limit),
            (64, 1, 5)
        );
        assert_eq!(config.read_connections, 200);
        assert_eq!(config.sweep_interval, Duration::from_secs(60));
        assert_eq!(config.drain, Duration::ZERO);
        let key = config.secrets_key.expect("it is set");
        assert_eq!(key.bytes(), b"0123456789abcdef0123456789abcdef");
        assert_eq!(config.stripe_api_base.as_str(), "http://127.0.0.1:9");
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!(config.log_filter, "debug");
    }

    #[test]
    fn migrations_use_the_database_url_unless_told_otherwise() {
        let config = read_good(&[("DATABASE_URL", "postgres://db/credits")]);

        assert!(
            matches!(&config.database, Database::External { url, migrate_url }
            if url.expose() == migrate_url.expose())
        );
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let config = read_good(&[("DATABASE_URL", ""), ("OPERATOR_KEY", " "), ("LANES", "")]);

        assert!(matches!(config.database, Database::Embedded { .. }));
        assert!(config.operator_key.is_none());
        assert_eq!(config.lanes, 1);
    }

    #[test]
    fn a_bad_value_is_refused_by_the_variables_name() {
        let bad = [
            ("DATABASE_URL", "mysql://root:hunter2@db/credits"),
            ("EMBEDDED_POSTGRES", "maybe"),
            ("AUTO_MIGRATE", "2"),
            ("LISTEN_ADDR", "8080"),
            ("OPERATOR_KEY", "0123456789 abcdef"),
            ("LANES", "0"),
            ("LANES", "65"),
            ("LANES", "-1"),
            ("BATCH_LIMIT", "10001"),
            ("QUEUE_LIMIT", "0"),
            ("READ_CONNECTIONS", "201"),
            ("SWEEP_INTERVAL_SECONDS", "0.5"),
            ("DRAIN_SECONDS", "301"),
            ("SECRETS_KEY", "c2hvcnQ="),
            ("STRIPE_API_BASE", "http://api.stripe.com"),
            ("LOG_FORMAT", "xml"),
        ];
        for (variable, value) in bad {
            let message = message(&[(variable, value)]);
            assert!(
                message.starts_with(variable),
                "{variable}={value}: {message}"
            );
        }
    }

    #[test]
    fn the_message_about_a_secret_does_not_repeat_it() {
        assert!(!message(&[("DATABASE_URL", "mysql://root:hunter2@db")]).contains("hunter2"));
        assert!(!message(&[("OPERATOR_KEY", "hunter 2")]).contains("hunter"));
        assert!(!message(&[("SECRETS_KEY", "hunter2")]).contains("hunter"));
    }

    #[test]
    fn without_a_database_and_without_leave_to_start_one_the_error_is_its_own() {
        let refused = read(&[("EMBEDDED_POSTGRES", "off")]).expect_err("there is no database");

        assert_eq!(refused, ConfigError::NoDatabase);
        assert!(refused.to_string().contains("DATABASE_URL"));
    }

    #[test]
    fn a_migration_url_alone_contradicts_itself() {
        let message = message(&[("MIGRATE_DATABASE_URL", "postgres://owner@db/credits")]);

        assert!(message.starts_with("MIGRATE_DATABASE_URL"));
    }

    #[test]
    fn the_debug_form_of_the_settings_shows_no_secret() {
        let config = read_good(&[
            ("DATABASE_URL", "postgres://app:hunter2@db/credits"),
            ("OPERATOR_KEY", "hunter2hunter2hunter2"),
            ("SECRETS_KEY", SECRETS_KEY),
        ]);

        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("48, 49, 50"));
    }

    #[test]
    fn a_secret_matches_itself_alone() {
        let secret = Secret::new("correct");

        assert!(secret.matches("correct"));
        assert!(!secret.matches("correct "));
        assert!(!secret.matches(""));
    }
}
