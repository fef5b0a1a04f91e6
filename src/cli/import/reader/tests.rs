//! Files as they come: quoted, with marks and line ends of other systems, and damaged.

use std::path::PathBuf;

use super::super::cells::{PAYMENTS, POOLS};
use super::*;

/// A file that is removed when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Self {
        let unique = format!("credit-ledger-reader-{}-{name}", uuid::Uuid::now_v7());
        let path = std::env::temp_dir().join(unique);
        std::fs::write(&path, content).expect("it is written");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn open(name: &str, content: &[u8], table: &'static Table) -> anyhow::Result<Vec<FileLine>> {
    let file = Scratch::new(name, content);
    let mut reader = Reader::open(&file.0, table)?;
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line()? {
        lines.push(line);
    }
    assert_eq!(reader.finish(), <[u8; 32]>::from(Sha256::digest(content)));
    Ok(lines)
}

fn read(name: &str, content: &str) -> Vec<FileLine> {
    open(name, content.as_bytes(), &PAYMENTS).expect("it can be read")
}

/// Number, pool, reference and credits of each line.
fn said(lines: &[FileLine]) -> Vec<(i64, &str, &str, &str)> {
    let said = lines.iter().map(|line| {
        assert_eq!(line.problem, None);
        let text = |place: usize| line.texts[place].as_deref().unwrap_or("absent");
        (line.number, text(0), text(1), text(2))
    });
    said.collect()
}

const HEADER: &str = "pool,payment_reference,credits,paid_at";

#[test]
fn csv_is_read_with_quotes_marks_and_either_line_end() {
    let plain = format!("{HEADER}\nworkspace:a,pi_1,5,2026-01-01\nworkspace:b,pi_2,6,x\n");
    let expected = [
        (2, "workspace:a", "pi_1", "5"),
        (3, "workspace:b", "pi_2", "6"),
    ];
    assert_eq!(said(&read("a.csv", &plain)), expected);
    assert_eq!(said(&read("a.csv", &plain.replace('\n', "\r\n"))), expected);
    assert_eq!(said(&read("a.csv", &format!("\u{feff}{plain}"))), expected);
    let quoted = plain.replace("pi_1", "\"pi_1\"").replace(",5,", ",\"5\",");
    assert_eq!(said(&read("a.csv", &quoted)), expected);
    assert_eq!(said(&read("without", &plain)), expected);
    assert_eq!(said(&read("a.csv", plain.trim_end())), expected);
}

#[test]
fn blank_lines_keep_the_numbers_right() {
    let first = "workspace:a,\"pi, \"\"1\"\"\",5,x";
    let text = format!("{HEADER}\n{first}\n\n\nworkspace:b,pi_2,6,x\r\nworkspace:c,pi_3,7,x");
    let expected = [
        (2, "workspace:a", "pi, \"1\"", "5"),
        (5, "workspace:b", "pi_2", "6"),
        (6, "workspace:c", "pi_3", "7"),
    ];
    assert_eq!(said(&read("a.csv", &text)), expected);
}

#[test]
fn an_open_quote_and_a_line_that_is_too_long_end_with_their_line() {
    let long = "x".repeat(records::MAX_LINE);
    let rows = "workspace:a,\"pi_1,5,x\nworkspace:b,pi_2,6,x\nworkspace:c,pi_3,7,";
    let lines = read(
        "a.csv",
        &format!("{HEADER}\n{rows}{long}\nworkspace:d,,,\n"),
    );
    let found: Vec<_> = lines
        .iter()
        .map(|line| (line.number, line.problem.as_deref().unwrap_or_default()))
        .collect();
    let open = "has a quote that is not closed: no cell may have a line break";
    let too_long = "is longer than 65536 bytes";
    assert_eq!(found, [(2, open), (3, ""), (4, too_long), (5, "")]);
    assert_eq!(lines[0].texts[0].as_deref(), Some("workspace:a"));

    let object = format!("{{\"pool\":\"{long}\"}}\n{{\"pool\":\"workspace:a\"}}");
    let lines = read("a.jsonl", &object);
    assert_eq!(lines[0].problem.as_deref(), Some(too_long));
    assert_eq!((lines[1].number, &lines[1].problem), (2, &None));
}

#[test]
fn json_lines_are_read_with_numbers_as_they_are_written() {
    let text = concat!(
        "{\"pool\":\"workspace:a\",\"payment_reference\":\"pi_1\",\"credits\":5.10}\n",
        "\n",
        "  {\"credits\":\"6\",\"payment_reference\":\"p\\u0069_2\",\"pool\":\"workspace:b\"}\r\n",
        "{\"pool\":\"workspace:c\",\"payment_reference\":null}",
    );
    let expected = [
        (1, "workspace:a", "pi_1", "5.10"),
        (3, "workspace:b", "pi_2", "6"),
        (4, "workspace:c", "", "absent"),
    ];
    for name in ["a.jsonl", "a.ndjson", "without"] {
        assert_eq!(said(&read(name, text)), expected, "{name}");
    }
    assert_eq!(
        said(&read("without", &format!("\u{feff}\n {text}")))[0].0,
        2
    );
}

#[test]
fn a_damaged_line_says_so_and_the_next_ones_are_read() {
    let csv = format!("{HEADER}\nworkspace:a,pi_1\nworkspace:b,pi_2,6,x,y\nworkspace:c,p,7,x\n");
    let lines = read("a.csv", &csv);
    let problems: Vec<Option<&str>> = lines.iter().map(|it| it.problem.as_deref()).collect();
    let few = Some("has 2 cells, the header 4");
    assert_eq!(problems, [few, Some("has 5 cells, the header 4"), None]);
    assert_eq!(lines[0].texts[0].as_deref(), Some("workspace:a"));

    let mut latin = format!("{HEADER}\nworkspace:a,caf").into_bytes();
    latin.extend(b"\xe9,5,x\n");
    let lines = open("a.csv", &latin, &PAYMENTS).expect("it can be read");
    assert_eq!(lines[0].problem.as_deref(), Some("is not UTF-8"));

    let json = [
        (
            r#"{"pool":"workspace:a","pool":"workspace:b"}"#,
            "pool is there twice",
        ),
        (
            r#"{"pool":"workspace:a","size":1,"x":2}"#,
            "unknown column \"size\"; unknown column",
        ),
        (
            r#"{"pool":"workspace:a","credits":[1]}"#,
            "credits must be a text or a number",
        ),
        (
            r#"{"pool":"workspace:a","credits":true}"#,
            "credits must be a text or a number",
        ),
        (r#"{"pool":"workspace:a""#, "is no JSON object"),
        (r#"{"pool":"workspace:a"} {}"#, "is no JSON object"),
        ("[1]", "is no JSON object"),
    ];
    for (line, problem) in json {
        let lines = read(
            "a.jsonl",
            &format!("{line}\n{{\"pool\":\"workspace:c\"}}\n"),
        );
        let found = lines[0].problem.as_deref().unwrap_or_default();
        assert!(found.contains(problem), "{line}: {found}");
        assert_eq!((lines[1].number, &lines[1].problem), (2, &None));
    }
}

#[test]
fn a_header_that_does_not_fit_is_an_error_that_names_its_columns() {
    let rows = [
        (
            "pool,plan",
            "missing columns of the pools: anchor, cycle_start",
        ),
        (
            "pool,plan,anchor,cycle_start,monthly_granted,monthly_remaining,colour,size",
            "unknown columns of the pools: colour, size; known are pool, plan",
        ),
        (
            "pool,plan,anchor,cycle_start,monthly_granted,monthly_remaining,plan",
            "repeated column of the pools: plan",
        ),
        ("", "is empty"),
        ("pool,\"plan", "its header has a quote that is not closed"),
    ];
    for (header, message) in rows {
        let error = open("a.csv", header.as_bytes(), &POOLS).expect_err(header);
        assert!(error.is::<UsageError>(), "{error:#}");
        assert!(format!("{error:#}").contains(message), "{error:#}");
    }
    let error = Reader::open(&PathBuf::from("/nowhere/a.csv"), &POOLS).err();
    assert!(error.is_some_and(|error| error.is::<UsageError>()));
}
