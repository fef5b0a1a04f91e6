//! A pool's journal as CSV, streamed: a portion is read when the one before it was sent.
//!
//! The journal only grows at its end, so portions that go backwards from the newest entry are one
//! consistent history however long the client takes.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HeaderValue, VARY};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::App;
use super::time::Stamp;
use crate::ledger::{Entry, Label, Metadata, PoolId, Reason, Transfer};
use crate::store::EntryFilter;

/// How many entries are read at once.
const PORTION: i64 = 1_000;
/// About how long a line is.
const USUAL_LINE_BYTES: usize = 512;

const COLUMNS: [&str; 35] = [
    "id",
    "seq",
    "kind",
    "at",
    "operation",
    "user_id",
    "workspace_id",
    "run_id",
    "model",
    "idempotency_key",
    "reference",
    "reason",
    "hold_id",
    "debit_id",
    "purchase_id",
    "actor",
    "metadata",
    "transfers",
    "available",
    "held",
    "overdraft",
    "monthly_granted",
    "monthly_settled",
    "monthly_held",
    "monthly_available",
    "monthly_used",
    "cycle_start",
    "renews_at",
    "monthly_expires_at",
    "addon_granted",
    "addon_settled",
    "addon_held",
    "addon_available",
    "addon_expires_at",
    "hash",
];

/// Where the stream is.
struct Position {
    app: App,
    pool: PoolId,
    filter: EntryFilter,
    /// Only older entries are still to come.
    before: i64,
    /// The header line goes before the first portion.
    begun: bool,
}

/// Everything that the filter leaves, up to the entry `newest`.
pub fn stream(app: App, pool: PoolId, filter: EntryFilter, newest: i64) -> Response {
    let before = newest.saturating_add(1);
    let position = Position {
        app,
        pool,
        filter,
        before,
        begun: false,
    };
    let portions = stream::try_unfold(Some(position), |position| async {
        match position {
            Some(position) => position.portion().await.map(Some),
            None => Ok(None),
        }
    });
    let content_type = HeaderValue::from_static("text/csv; charset=utf-8");
    let headers = [
        (CONTENT_TYPE, content_type),
        (VARY, HeaderValue::from_static("accept")),
    ];
    (headers, Body::from_stream(portions)).into_response()
}

impl Position {
    /// The next portion and where to go on. A failure cuts the answer off, so that nobody takes
    /// what arrived for everything.
    async fn portion(mut self) -> std::io::Result<(Bytes, Option<Self>)> {
        let found = self
            .app
            .store
            .entries(self.pool, &self.filter, Some(self.before), PORTION);
        let entries = found.await.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a CSV answer was cut off"
            );
            std::io::Error::other(error)
        })?;
        let start = if self.begun { Vec::new() } else { header()? };
        let bytes = append(start, &entries)?;
        let more = entries.len() as i64 == PORTION;
        self.begun = true;
        let oldest = entries.last().map(|entry| entry.seq).filter(|_| more);
        Ok((bytes, oldest.map(|before| Self { before, ..self })))
    }
}

fn header() -> std::io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

fn append(mut text: Vec<u8>, entries: &[Entry]) -> std::io::Result<Bytes> {
    text.reserve(entries.len() * USUAL_LINE_BYTES);
    let mut writer = csv::Writer::from_writer(text);
    for entry in entries {
        writer.write_record(line(entry))?;
    }
    writer
        .into_inner()
        .map(Bytes::from)
        .map_err(csv::IntoInnerError::into_error)
}

fn line(entry: &Entry) -> [String; COLUMNS.len()] {
    let who = &entry.attribution;
    let (monthly, addon) = (&entry.after.monthly, &entry.after.addon);
    let label = |label: &Option<Label>| text(label.as_ref().map(Label::as_str));
    let key = entry
        .actor
        .request
        .as_ref()
        .map(|request| request.key.as_str());
    [
        entry.id().to_string(),
        entry.seq.to_string(),
        entry.kind.to_string(),
        Stamp(entry.at).to_string(),
        label(&who.operation),
        label(&who.user_id),
        label(&who.workspace_id),
        label(&who.run_id),
        label(&who.model),
        text(key),
        label(&entry.reference),
        text(entry.reason.as_ref().map(Reason::as_str)),
        id(entry.hold_id()),
        id(entry.debit_id()),
        id(entry.purchase),
        id(entry.actor.key),
        text(entry.metadata.as_ref().map(Metadata::as_str)),
        transfers(&entry.transfers),
        entry.after.available().to_string(),
        entry.after.held().to_string(),
        entry.after.overdraft.to_string(),
        monthly.granted.to_string(),
        monthly.settled.to_string(),
        monthly.held.to_string(),
        entry.after.monthly_available().to_string(),
        monthly.used.to_string(),
        Stamp(monthly.cycle_start).to_string(),
        Stamp(monthly.renews_at).to_string(),
        Stamp(monthly.expires_at).to_string(),
        addon.granted.to_string(),
        addon.settled.to_string(),
        addon.held.to_string(),
        entry.after.addon_available().to_string(),
        addon
            .expires_at
            .map(|at| Stamp(at).to_string())
            .unwrap_or_default(),
        entry.hash.to_string(),
    ]
}

fn id(id: Option<impl std::fmt::Display>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

/// A client's text. What a spreadsheet would take for a formula is marked as text for it.
fn text(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// `monthly>consumed:70;overdraft>consumed:2.5`
fn transfers(transfers: &[Transfer]) -> String {
    let leg = |Transfer { from, to, amount }: &Transfer| {
        format!("{}>{}:{amount}", from.as_str(), to.as_str())
    };
    transfers.iter().map(leg).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_formula_is_marked_as_text() {
        for (given, shown) in [
            (Some("u-1"), "u-1"),
            (Some("=1+1"), "'=1+1"),
            (Some("-2"), "'-2"),
            (Some("@x"), "'@x"),
            (None, ""),
        ] {
            assert_eq!(text(given), shown);
        }
    }

    #[test]
    fn the_header_comes_once_and_alone_when_there_is_nothing() {
        let first = append(header().expect("a header"), &[]).expect("a header");
        assert_eq!(first, format!("{}\n", COLUMNS.join(",")));
        assert!(append(Vec::new(), &[]).expect("nothing").is_empty());
    }
}
