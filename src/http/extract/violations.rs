//! What is wrong with a request, collected, so that a client is told of every field at once.

use std::borrow::Cow;
use std::fmt::Display;

use crate::http::problem::{FieldError, Problem};

/// The most characters of a path or message that a client is sent back.
const MAX_SAID: usize = 200;

/// Collects fields that break a rule.
#[derive(Debug, Default)]
pub struct Violations(Vec<FieldError>);

impl Violations {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Notes that a field breaks a rule; `message` reads after the field's name.
    pub fn add(&mut self, field: impl Into<Cow<'static, str>>, message: impl Display) {
        self.0.push(FieldError {
            field: field.into(),
            message: message.to_string(),
        });
    }

    /// A field that may be absent: its value, or `None` with the error noted.
    pub fn take<T, E: Display>(
        &mut self,
        field: &'static str,
        value: Option<Result<T, E>>,
    ) -> Option<T> {
        value.and_then(|value| self.keep(field, value))
    }

    /// A field that must be there: its value, or `None` with what is wrong noted.
    pub fn require<T, E: Display>(
        &mut self,
        field: &'static str,
        value: Option<Result<T, E>>,
    ) -> Option<T> {
        if value.is_none() {
            self.add(field, "is required");
        }
        self.take(field, value)
    }

    /// A parsed value, or `None` with the error noted.
    pub fn keep<T, E: Display>(&mut self, field: &'static str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.add(field, error)).ok()
    }

    /// Ends the collection.
    ///
    /// # Errors
    /// 422 when anything was noted.
    pub fn finish(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Problem::validation(self.0))
        }
    }

    /// Ends the collection where a required value is there or its violation was noted.
    ///
    /// # Errors
    /// 422 when anything was noted.
    ///
    /// # Panics
    /// Nothing was noted and there is no value.
    pub fn finish_with<T>(self, value: Option<T>) -> Result<T, Problem> {
        self.finish()?;
        Ok(value.expect("an absent value was noted as a violation"))
    }
}

/// What serde says about a field, in our words where it names the field only in its message.
pub(super) fn field_error(path: &str, said: &str) -> FieldError {
    let said = said.rsplit_once(" at line ").map_or(said, |(said, _)| said);
    // What a string said is not told back: it may have been a secret in the wrong place.
    let said = match said.split_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid type: string ") => {
            &format!("must be {expected}, not a string")
        }
        _ => said,
    };
    let named = |start: &str| {
        said.strip_prefix(start)
            .and_then(|rest| rest.strip_suffix('`'))
    };
    let (field, message) = if let Some(name) = named("missing field `") {
        (join(path, name), "is required")
    } else if let Some(name) = named("duplicate field `") {
        (join(path, name), "must be there once")
    } else if said.starts_with("unknown field `") {
        (join(path, ""), "is not known here")
    } else {
        (join(path, ""), said)
    };
    FieldError {
        field: Cow::Owned(shortened(&field)),
        message: shortened(message),
    }
}

fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("." | "", "") => "body".to_owned(),
        ("." | "", name) => name.to_owned(),
        (path, "") => path.to_owned(),
        (path, name) => format!("{path}.{name}"),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SAID) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Label, Reason};

    #[test]
    fn every_broken_field_is_named() {
        let mut violations = Violations::new();
        let user = violations.take("user_id", Some(Label::try_from(String::new())));
        let run = violations.take("run_id", Some(Label::try_from("r-1".to_owned())));
        let reason = violations.require("reason", None::<Result<Reason, &str>>);
        assert!(user.is_none() && run.is_some() && reason.is_none());
        let problem = violations.finish().expect_err("two violations");
        let body = serde_json::to_value(problem.body("r")).expect("a body");
        assert_eq!(body["errors"][0]["field"], "user_id");
        assert_eq!(body["errors"][1]["message"], "is required");
        assert_eq!(body["errors"].as_array().map(Vec::len), Some(2));
    }
}
