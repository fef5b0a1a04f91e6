//! House rules that no compiler lint can state, checked over the text of the sources.
//!
//! Each check is a function from one file to the problems in it. It is proven twice: it finds
//! nothing in the tree, and it finds what it is for in a sample below.
//! Comments, strings and character literals are blanked first where a rule is about code.

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use source::{Source, find_word, functions, names_after};

type Problems = Vec<String>;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
const COLUMNS_MAX: usize = 100;

/// Who may use whom: a module uses the rows above its own, never one beside it.
const ROWS: [&[&str]; 6] = [
    &["ledger"],
    &["store"],
    &["lanes", "sealing"],
    &["payments", "licenses", "webhooks"],
    &["http", "dashboard", "jobs"],
    &["cli"],
];

/// Used by every row but the ledger; they use only each other.
const FOUNDATIONS: [&str; 3] = ["config", "clock", "telemetry"];

/// A crate or name that has its place: nowhere else may the code say it.
const PLACES: [(&str, &[&str]); 5] = [
    ("sqlx", &["store", "embedded"]),
    ("axum", &["http", "dashboard"]),
    ("StatusCode", &["http", "dashboard"]),
    ("Utc::now", &["clock"]),
    ("std::env::var", &["config", "embedded"]),
];

/// What the ledger may build on besides its own modules. `serde_json` for the value types alone.
const LEDGER_CRATES: [&str; 11] = [
    "std",
    "core",
    "crate",
    "super",
    "self",
    "uuid",
    "chrono",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
];

/// Names of the outside world, which a decision never sees.
const LEDGER_BANNED: [&str; 14] = [
    "sqlx",
    "axum",
    "tokio",
    "async",
    "await",
    "Utc::now",
    "SystemTime",
    "Instant",
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "rand",
    "tracing",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files under `directory`, which has to have some: a check of nothing proves nothing.
fn sources(directory: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(directory), &mut found);
    assert!(!found.is_empty(), "{directory} has no Rust files");
    found
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
            let relative = path
                .strip_prefix(root())
                .expect("it was found below the root");
            found.push(Source::new(&relative.to_string_lossy(), &text));
        }
    }
}

fn assert_clean(directories: &[&str], check: fn(&Source) -> Problems) {
    let files = directories.iter().flat_map(|directory| sources(directory));
    let problems: Problems = files.flat_map(|file| check(&file)).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Asserts that a check finds something in `bad` and nothing in `good`, both files at `path`.
fn assert_tells_apart(check: fn(&Source) -> Problems, path: &str, bad: &str, good: &str) {
    let found = check(&Source::new(path, bad));
    assert!(!found.is_empty(), "found nothing in:\n{bad}");
    let found = check(&Source::new(path, good));
    assert!(found.is_empty(), "found {found:?} in:\n{good}");
}

// ---- the rules

fn check_opening(file: &Source) -> Problems {
    let opens = file.text.starts_with("//! ");
    (!opens)
        .then(|| file.problem(0, "has to open with `//!`"))
        .into_iter()
        .collect()
}

fn check_size(file: &Source) -> Problems {
    let lines = file.text.lines().count();
    let wide = file
        .text
        .lines()
        .zip(1..)
        .filter(|(line, _)| line.chars().count() > COLUMNS_MAX);
    let mut problems: Problems = wide
        .map(|(_, number)| format!("{}:{number}: over {COLUMNS_MAX} columns", file.path))
        .collect();
    if lines > FILE_LINES_MAX {
        problems.push(file.problem(0, &format!("{lines} lines, over {FILE_LINES_MAX}")));
    }
    problems
}

fn check_functions(file: &Source) -> Problems {
    let long = functions(&file.code)
        .into_iter()
        .filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
    long.map(|(start, lines)| {
        file.problem(
            start,
            &format!("a function of {lines} lines, over {FUNCTION_LINES_MAX}"),
        )
    })
    .collect()
}

fn check_leftovers(file: &Source) -> Problems {
    let in_code = [".unwrap()", "dbg!", "todo!", "unimplemented!"];
    let code = in_code.into_iter().flat_map(|word| {
        let found = file.code.match_indices(word);
        found.map(move |(position, _)| file.problem(position, &format!("`{word}`")))
    });
    let fixme = file
        .text
        .contains("FIXME")
        .then(|| format!("{}: FIXME", file.path));
    code.chain(fixme).collect()
}

fn check_places(file: &Source) -> Problems {
    let Some(module) = file.module() else {
        return Problems::new();
    };
    let misplaced = PLACES
        .iter()
        .filter(|(_, modules)| !modules.contains(&module));
    misplaced
        .flat_map(|(word, modules)| {
            let what = format!("`{word}` belongs in {} only", modules.join(" and "));
            let found = find_word(&file.code, word).into_iter();
            found.map(move |position| file.problem(position, &what))
        })
        .collect()
}

fn check_ledger(file: &Source) -> Problems {
    if file.module() != Some("ledger") {
        return Problems::new();
    }
    let banned = LEDGER_BANNED.iter().flat_map(|word| {
        let what = format!("`{word}` has no place in the ledger");
        let found = find_word(&file.code, word).into_iter();
        found.map(move |position| file.problem(position, &what))
    });
    // A re-export names a module of the ledger itself.
    let own: BTreeSet<String> = names_after(&file.code, "mod ")
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    let foreign = names_after(&file.code, "use ")
        .into_iter()
        .filter(|(_, name)| {
            !LEDGER_CRATES.contains(&name.as_str()) && !own.contains(name) && name != "proptest"
        });
    let foreign = foreign
        .map(|(position, name)| file.problem(position, &format!("the ledger builds on `{name}`")));
    banned.chain(foreign).collect()
}

fn check_layers(file: &Source) -> Problems {
    let Some(user) = file.module() else {
        return Problems::new();
    };
    let mut used = names_after(&file.code, "crate::");
    used.extend(names_after(&file.code, "credit_ledger::"));
    let forbidden = used.into_iter().filter(|(_, used)| {
        // A capital begins a type at the root, which is no module.
        !used.starts_with(char::is_uppercase) && !may_use(user, used)
    });
    forbidden
        .map(|(position, used)| file.problem(position, &format!("`{user}` may not use `{used}`")))
        .collect()
}

fn may_use(user: &str, used: &str) -> bool {
    let row = |module: &str| ROWS.iter().position(|row| row.contains(&module));
    match (user, used) {
        ("main" | "lib", _) => true,
        _ if user == used => true,
        _ if FOUNDATIONS.contains(&used) => user != "ledger",
        (_, "embedded") => user == "cli",
        _ => match (row(user), row(used)) {
            (Some(user), Some(used)) => used < user,
            // A foundation, the embedded Postgres, or a module that has no row yet.
            _ => false,
        },
    }
}

/// The variables that `config.rs` reads: the string literals that look like one, tests left out.
fn variables_read(config: &str) -> BTreeSet<String> {
    let body = config.split("#[cfg(test)]").next().unwrap_or_default();
    let code = body
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let looks_so =
        |text: &str| text.len() > 3 && text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    code.flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|literal| looks_so(literal))
        .map(str::to_owned)
        .collect()
}

/// The variables that an example of an environment names, commented out or not.
fn variables_shown(example: &str) -> BTreeSet<String> {
    let names = example
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='));
    names
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect()
}

// ---- the rules hold in the tree

#[test]
fn every_file_says_first_what_it_is() {
    assert_clean(&["src", "tests"], check_opening);
}

#[test]
fn files_lines_and_functions_fit() {
    assert_clean(&["src", "tests"], check_size);
    assert_clean(&["src", "tests"], check_functions);
}

#[test]
fn nothing_is_left_unfinished() {
    assert_clean(&["src"], check_leftovers);
}

#[test]
fn every_crate_and_name_keeps_to_its_place() {
    assert_clean(&["src"], check_places);
}

#[test]
fn the_ledger_does_no_io() {
    assert_clean(&["src"], check_ledger);
}

#[test]
fn modules_use_only_what_lies_below_them() {
    assert_clean(&["src"], check_layers);
}

#[test]
fn every_setting_is_in_the_example_and_the_other_way_round() {
    let read = |path| std::fs::read_to_string(root().join(path)).expect("the file is there");
    let settings = variables_read(&read("src/config.rs"));

    assert!(settings.contains("DATABASE_URL"), "{settings:?}");
    assert_eq!(variables_shown(&read(".env.example")), settings);
}

// ---- each check finds what it is for

#[test]
fn an_unexplained_file_is_found() {
    assert_tells_apart(
        check_opening,
        "src/a.rs",
        "use std::fmt;\n",
        "//! What is here.\n",
    );
}

#[test]
fn a_wide_line_and_a_long_file_are_found() {
    let line = |columns| "é".repeat(columns);
    assert_tells_apart(check_size, "src/a.rs", &line(101), &line(100));

    let lines = |count| "x\n".repeat(count);
    assert_tells_apart(check_size, "src/a.rs", &lines(601), &lines(600));
}

#[test]
fn a_long_function_is_found() {
    let function = |lines: usize| {
        let body = "    let brace = '{'; // }\n".repeat(lines - 2);
        format!("trait T {{ fn f(x: [u8; 2]); }}\nfn long(f: fn(u8)) -> u8\n{{{body}}}\n")
    };
    assert_tells_apart(check_functions, "src/a.rs", &function(71), &function(70));
}

#[test]
fn leftovers_are_found() {
    for bad in [
        "x.unwrap();",
        "dbg!(x);",
        "todo!()",
        "unimplemented!()",
        "// FIXME later",
    ] {
        assert_tells_apart(
            check_leftovers,
            "src/a.rs",
            bad,
            "x.unwrap_or(1); // no todo! here",
        );
    }
}

#[test]
fn a_name_out_of_its_place_is_found() {
    let cases = [
        ("src/http/mod.rs", "sqlx::query(sql)", "ask(\"sqlx\")"),
        (
            "src/lanes/mod.rs",
            "use axum::Router;",
            "// axum is for http",
        ),
        (
            "src/store/error.rs",
            "StatusCode::CONFLICT",
            "MyStatusCode::CONFLICT",
        ),
        (
            "src/lanes/lane.rs",
            "let now = Utc::now();",
            "let now = clock.now();",
        ),
        (
            "src/http/auth.rs",
            "std::env::var(\"KEY\")",
            "std::environment()",
        ),
    ];
    for (path, bad, good) in cases {
        assert_tells_apart(check_places, path, bad, good);
    }
    assert!(check_places(&Source::new("src/store/pools.rs", "sqlx::query(sql)")).is_empty());
    assert!(check_places(&Source::new("src/clock.rs", "Utc::now()")).is_empty());
}

#[test]
fn a_ledger_that_looks_outside_is_found() {
    let good = "mod pool;\npub use pool::Pool;\nuse super::{Time, id::PoolId};\nuse std::fmt;";
    for bad in [
        "use rust_decimal::D;",
        "async fn f() {}",
        "std::fs::read(p)",
        "use tokio::x;",
    ] {
        assert_tells_apart(check_ledger, "src/ledger/mod.rs", bad, good);
    }
    assert!(check_ledger(&Source::new("src/store/mod.rs", "async fn f() {}")).is_empty());
}

#[test]
fn a_module_that_looks_up_or_sideways_is_found() {
    let cases = [
        (
            "src/ledger/pool.rs",
            "use crate::config::Secret;",
            "use crate::ledger::Credits;",
        ),
        (
            "src/store/batch.rs",
            "use crate::lanes::Lane;",
            "use crate::ledger::Pool;",
        ),
        (
            "src/lanes/mod.rs",
            "crate::webhooks::send()",
            "crate::store::batch::lock()",
        ),
        (
            "src/http/mod.rs",
            "use crate::{store, jobs::X};",
            "use crate::{store::{A, B}, lanes};",
        ),
        (
            "src/jobs/mod.rs",
            "use crate::embedded::Server;",
            "use crate::clock::Clock;",
        ),
        (
            "src/clock.rs",
            "use crate::ledger::Time;",
            "use crate::config::Config;",
        ),
        (
            "src/cli/mod.rs",
            "use crate::unheard_of::X;",
            "use crate::{embedded, http, Error};",
        ),
    ];
    for (path, bad, good) in cases {
        assert_tells_apart(check_layers, path, bad, good);
    }
}

#[test]
fn a_setting_that_is_not_shown_is_found() {
    let config = "env.text(\"NEW_ONE\")?; // \"OLD\"\n/// \"DOC\"\n#[cfg(test)] \"TEST_ONLY\"";
    assert_eq!(
        variables_read(config),
        BTreeSet::from(["NEW_ONE".to_owned()])
    );

    let example = "# Words = no variable\n#NEW_ONE=1\nOTHER=2\n";
    let shown = BTreeSet::from(["NEW_ONE".to_owned(), "OTHER".to_owned()]);
    assert_eq!(variables_shown(example), shown);
}
