//! Lists: how many, from where on, and the cursor of what follows.
//!
//! A cursor is opaque to clients: the sort key of the last item of a page, as hex of its JSON.
//! What the key is, the list decides; a cursor of another list does not parse.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::Violations;
use super::problem::Problem;

/// How many items a page has when nothing is said.
const DEFAULT_LIMIT: u32 = 50;
/// The most items of a page.
const MAX_LIMIT: u32 = 200;
/// No sort key of ours is longer.
const MAX_CURSOR_CHARS: usize = 1024;

/// The query of a list without filters. Lists with filters have these two fields of their own.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many items, 1 to 200; 50 when left out.
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A page that is asked for: at most `limit` items that come after the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest<K> {
    /// How many, 1 to 200. Fetch one more to know whether there is a next page.
    pub limit: u32,
    /// The sort key of the last item of the page before.
    pub after: Option<K>,
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub data: Vec<T>,
    /// Where the next page starts; null on the last one.
    pub next_cursor: Option<String>,
}

impl PageQuery {
    /// The page that is asked for.
    ///
    /// # Errors
    /// 422 for a bad limit or a cursor that is not of this list.
    pub fn read<K: DeserializeOwned>(&self) -> Result<PageRequest<K>, Problem> {
        let mut violations = Violations::new();
        let page = PageRequest::read(&mut violations, self.limit, self.cursor.as_deref());
        violations.finish()?;
        Ok(page)
    }
}

impl<K: DeserializeOwned> PageRequest<K> {
    /// The page that a query asks for; what is wrong is noted.
    pub fn read(violations: &mut Violations, limit: Option<u32>, cursor: Option<&str>) -> Self {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            violations.add("limit", format_args!("must be from 1 to {MAX_LIMIT}"));
        }
        let after = cursor.map(|cursor| decode(cursor).ok_or("must be a next_cursor of this list"));
        Self {
            limit,
            after: violations.take("cursor", after),
        }
    }
}

impl<T> Page<T> {
    /// A page of at most `limit` of the `rows`, which are one more where there is a next page.
    /// `key` gives the sort key of a row.
    pub fn of<R, K: Serialize>(
        limit: u32,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> K,
        show: impl FnMut(R) -> T,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| encode(&key(last)));
        Self {
            data: rows.into_iter().map(show).collect(),
            next_cursor,
        }
    }
}

fn encode(key: &impl Serialize) -> String {
    use std::fmt::Write as _;
    let json = serde_json::to_vec(key).expect("a sort key is plain values");
    json.iter()
        .fold(String::with_capacity(json.len() * 2), |mut hex, byte| {
            let _never_fails = write!(hex, "{byte:02x}");
            hex
        })
}

fn decode<K: DeserializeOwned>(cursor: &str) -> Option<K> {
    if cursor.len() > MAX_CURSOR_CHARS || !cursor.is_ascii() {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let json: Option<Vec<u8>> = cursor.as_bytes().chunks(2).map(byte).collect();
    serde_json::from_slice(&json?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(limit: Option<u32>, cursor: Option<&str>) -> PageQuery {
        PageQuery {
            limit,
            cursor: cursor.map(str::to_owned),
        }
    }

    #[test]
    fn pages_follow_one_another_by_cursor() {
        let first = Page::of(2, vec![9, 8, 7], |n| *n, |n| n.to_string());
        assert_eq!(first.data, ["9", "8"]);
        let cursor = first.next_cursor.expect("a next page");
        let next = query(None, Some(&cursor))
            .read::<i32>()
            .expect("a good cursor");
        assert_eq!(
            next,
            PageRequest {
                limit: 50,
                after: Some(8)
            }
        );
        let last = Page::of(2, vec![7], |n| *n, |n| n);
        assert_eq!((last.data, last.next_cursor), (vec![7], None));
    }

    #[test]
    fn bad_limits_and_foreign_cursors_are_refused() {
        let text = encode(&"a text");
        let rows = [
            query(Some(0), None),
            query(Some(201), None),
            query(None, Some("zz")),
            query(None, Some("é")),
            query(None, Some("")),
            query(None, Some(&text)),
            query(None, Some(&"3".repeat(2000))),
        ];
        for row in rows {
            assert!(row.read::<i32>().is_err(), "{row:?}");
        }
        assert!(query(Some(200), None).read::<i32>().is_ok());
    }
}
