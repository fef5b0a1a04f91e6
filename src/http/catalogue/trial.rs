//! Plans and prices to be tried out, read from files: the bodies of the PUTs of plans and
//! operations, held against what a tenant sells by the same rules. Nothing is stored.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::operations::OperationRequest;
use super::plan_request::PlanRequest;
use crate::http::extract::parse_json;
use crate::http::problem::Problem;
use crate::ledger::{Catalogue, Code, Credits, Plan, PlanCode, Time};

/// Plans and prices to be tried out. What they do not name stays as it is.
#[derive(Clone, Debug, Default)]
pub struct TrialPrices {
    plans: Vec<(PlanCode, PlanRequest)>,
    operations: Vec<(Code, OperationRequest)>,
    /// What the files are called.
    plans_from: String,
    operations_from: String,
}

/// What is wrong with them, line by line, each naming the file, the code and the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct TrialError(pub Vec<String>);

impl TrialPrices {
    /// Adds the plans of a file: a JSON object from code to body, or an array of bodies with a
    /// `code`.
    ///
    /// # Errors
    /// It is not that; each line names the file, the code and the field.
    pub fn add_plans(&mut self, file: String, json: &str) -> Result<(), TrialError> {
        self.plans = read(&file, json)?;
        let dated = self.plans.iter().find(|(_, body)| body.says_when());
        if let Some((code, _)) = dated {
            let message = "must be left out: a plan is tried out in the whole window";
            return Err(TrialError(vec![format!(
                "{file}: {code}: effective_at: {message}"
            )]));
        }
        self.plans_from = file;
        Ok(())
    }

    /// Adds the operations of a file, likewise.
    ///
    /// # Errors
    /// It is not that; each line names the file, the code and the field.
    pub fn add_operations(&mut self, file: String, json: &str) -> Result<(), TrialError> {
        self.operations = read(&file, json)?;
        self.operations_from = file;
        Ok(())
    }

    /// What a tenant sells with these in the place of what they name: each plan in one version, in
    /// force at all times. What this tenant does not have but one of `others` does is left out.
    ///
    /// # Errors
    /// The rules of the PUTs; each line names the file, the code and the field.
    pub fn over(
        &self,
        sold: &Catalogue,
        now: Time,
        others: &[Arc<Catalogue>],
    ) -> Result<Catalogue, TrialError> {
        let mut other = sold.clone();
        // What was debited had passed the limit that was in force.
        other.settings.max_debit = Credits::MAX_ACCOUNT;
        let mut wrong = Vec::new();
        for (code, body) in &self.plans {
            let known = sold.plans.get(code);
            let elsewhere = || others.iter().any(|other| other.plans.contains_key(code));
            let name = || known.map(|plan| plan.version(Some(now)).name.clone());
            let body = body.clone().or_named(name);
            if known.is_none() && elsewhere() {
                continue;
            }
            match body.decide(code.clone(), sold, now) {
                Ok(decision) => drop(other.plans.insert(code.clone(), newest(decision.plan))),
                Err(problem) => wrong.extend(lines(&self.plans_from, code, &problem)),
            }
        }
        for (code, body) in &self.operations {
            let known = sold.operations.get(code);
            let elsewhere = || others.iter().any(|it| it.operations.contains_key(code));
            if known.is_none() && elsewhere() {
                continue;
            }
            match body.clone().or_as(known).read() {
                Ok(operation) => drop(other.operations.insert(code.clone(), operation)),
                Err(problem) => wrong.extend(lines(&self.operations_from, code, &problem)),
            }
        }
        match wrong.is_empty() {
            true => Ok(other),
            false => Err(TrialError(wrong)),
        }
    }
}

/// The plan with its newest version alone, which then is in force at all times.
fn newest(plan: Plan) -> Plan {
    let versions = plan.versions.last().cloned().into_iter().collect();
    Plan { versions, ..plan }
}

fn lines(file: &str, code: &Code, problem: &Problem) -> Vec<String> {
    let body = serde_json::to_value(problem.body("")).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    if errors.is_empty() {
        return vec![format!("{file}: {code}: {}", text(&body["detail"]))];
    }
    let line = |error: &Value| {
        let (field, message) = (text(&error["field"]), text(&error["message"]));
        format!("{file}: {code}: {field}: {message}")
    };
    errors.iter().map(line).collect()
}

/// Bodies by code.
fn read<T: DeserializeOwned>(file: &str, json: &str) -> Result<Vec<(Code, T)>, TrialError> {
    let bodies = serde_json::from_str(json);
    let Bodies(bodies) = bodies.map_err(|error| TrialError(vec![format!("{file}: {error}")]))?;
    let mut found: Vec<(Code, T)> = Vec::new();
    let mut wrong = Vec::new();
    for (code, body) in bodies {
        let parsed = match code.parse::<Code>() {
            Ok(parsed) if found.iter().any(|(known, _)| *known == parsed) => {
                wrong.push(format!("{file}: {code}: is there twice"));
                continue;
            }
            Ok(parsed) => parsed,
            Err(error) => {
                wrong.push(format!("{file}: {code:?}: code: {error}"));
                continue;
            }
        };
        match parse_json::<T>(body.as_bytes()) {
            Ok(body) => found.push((parsed, body)),
            Err(problem) => wrong.extend(lines(file, &parsed, &problem)),
        }
    }
    if found.is_empty() && wrong.is_empty() {
        wrong.push(format!("{file}: names nothing to try out"));
    }
    match wrong.is_empty() {
        true => Ok(found),
        false => Err(TrialError(wrong)),
    }
}

/// Codes with the text of their bodies, as they came: what is there twice is still seen.
struct Bodies(Vec<(String, String)>);

/// The members of an object, as they came.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Bodies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BodiesVisitor)
    }
}

struct BodiesVisitor;

impl<'de> Visitor<'de> for BodiesVisitor {
    type Value = Bodies;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from code to body, or an array of bodies with a code")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Bodies, A::Error> {
        let Members(members) = MembersVisitor.visit_map(map)?;
        let members = members.into_iter();
        Ok(Bodies(
            members
                .map(|(code, body)| (code, body.get().to_owned()))
                .collect(),
        ))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Bodies, A::Error> {
        let mut bodies = Vec::new();
        while let Some(Members(members)) = items.next_element()? {
            let (codes, rest): (Vec<_>, Vec<_>) =
                members.into_iter().partition(|(name, _)| name == "code");
            let [(_, code)] = &codes[..] else {
                let place = bodies.len();
                return Err(de::Error::custom(format!("[{place}] needs one code")));
            };
            let code = serde_json::from_str(code.get()).map_err(de::Error::custom)?;
            let rest = rest
                .iter()
                .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())));
            bodies.push((code, format!("{{{}}}", rest.collect::<Vec<_>>().join(","))));
        }
        Ok(Bodies(bodies))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
