//! A file as lines of cells: CSV with a header, or JSON lines. The file is read once, from one end
//! to the other, and hashed by the way.
//!
//! What makes the whole file useless (its header, its disk) is an error; what is wrong with one
//! line is said of that line.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::UsageError;
use super::cells::{Table, Texts};
use super::records::{self, Line, too_long};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLine {
    /// Counted from 1, the header and blank lines included.
    pub number: i64,
    /// What its cells say.
    pub texts: Texts,
    /// Why it cannot be read as it is.
    pub problem: Option<String>,
}

/// Reads a file line by line.
pub struct Reader {
    table: &'static Table,
    input: Input,
    /// The number of the line that was read last.
    number: i64,
    form: Form,
}

enum Form {
    Csv {
        /// Where each cell of a record belongs.
        places: Vec<usize>,
    },
    Json,
}

type Input = BufReader<Hashed>;

/// A file that is hashed while it is read.
struct Hashed {
    file: File,
    hash: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

impl Reader {
    /// Opens a file and reads its header, if it has one.
    ///
    /// # Errors
    /// The file cannot be read, or its header is wrong.
    pub fn open(path: &Path, table: &'static Table) -> anyhow::Result<Self> {
        let name = path.display();
        let file = File::open(path)
            .map_err(|error| UsageError(format!("{name} cannot be opened: {error}")))?;
        let hash = Sha256::new();
        let mut input = BufReader::with_capacity(1 << 16, Hashed { file, hash });
        let cannot_read = || format!("{name} cannot be read");
        if input.fill_buf().with_context(cannot_read)?.starts_with(BOM) {
            input.consume(BOM.len());
        }
        let extension = path.extension().and_then(|it| it.to_str());
        let is_json = match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => false,
            Some("jsonl" | "ndjson") => true,
            _ => {
                let start = input.fill_buf().with_context(cannot_read)?;
                start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
            }
        };
        let mut reader = Self {
            table,
            input,
            number: 0,
            form: Form::Json,
        };
        if !is_json {
            let places = reader.header().with_context(|| format!("{name}"))?;
            reader.form = Form::Csv { places };
        }
        Ok(reader)
    }

    /// Where each cell of a record belongs, as the first line that is not blank says.
    fn header(&mut self) -> anyhow::Result<Vec<usize>> {
        let Some(line) = self.next_filled()? else {
            bail!(UsageError("is empty: it needs a header".to_owned()));
        };
        let (cells, problem) = records::cells(&line.bytes);
        let too_long = line.is_cut.then(too_long);
        if let Some(problem) = too_long.or(problem.map(str::to_owned)) {
            bail!(UsageError(format!("its header {problem}")));
        }
        let names = cells.iter().map(|name| String::from_utf8_lossy(name));
        let names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
        Ok(places(&names, self.table).map_err(UsageError)?)
    }

    /// The next line; blank ones are passed over.
    ///
    /// # Errors
    /// The file cannot be read any further.
    pub fn next_line(&mut self) -> anyhow::Result<Option<FileLine>> {
        let Some(line) = self.next_filled()? else {
            return Ok(None);
        };
        let (texts, problem) = match &self.form {
            Form::Csv { places } => record(&line, places, self.table),
            Form::Json => object(&line, self.table),
        };
        Ok(Some(FileLine {
            number: self.number,
            texts,
            problem,
        }))
    }

    fn next_filled(&mut self) -> io::Result<Option<Line>> {
        loop {
            let line = records::next_line(&mut self.input)?;
            self.number += 1;
            if line.as_ref().is_none_or(|line| !self.is_blank(line)) {
                return Ok(line);
            }
        }
    }

    fn is_blank(&self, line: &Line) -> bool {
        match self.form {
            Form::Csv { .. } => line.bytes.is_empty(),
            Form::Json => !line.is_cut && line.bytes.iter().all(u8::is_ascii_whitespace),
        }
    }

    /// The hash of all that was read: of the file, once it has come to its end.
    pub fn finish(self) -> [u8; 32] {
        self.input.into_inner().hash.finalize().into()
    }
}

/// Where each column of a header belongs.
fn places(names: &[String], table: &Table) -> Result<Vec<usize>, String> {
    let unknown = names.iter().filter(|name| table.place(name).is_none());
    let unknown: Vec<&str> = unknown.map(String::as_str).collect();
    let mut seen = HashSet::new();
    let twice = names.iter().filter(|name| !seen.insert(name.as_str()));
    let twice: Vec<&str> = twice.map(String::as_str).collect();
    let missing = table.required.iter().copied();
    let missing: Vec<&str> = missing
        .filter(|name| !names.iter().any(|it| it == name))
        .collect();
    let problems = [
        (
            "unknown",
            unknown,
            format!("; known are {}", table.columns.join(", ")),
        ),
        ("missing", missing, String::new()),
        ("repeated", twice, String::new()),
    ];
    let problems: Vec<String> = problems
        .into_iter()
        .filter(|(_, names, _)| !names.is_empty())
        .map(|(what, names, more)| {
            let what = format!("{what} column{}", if names.len() > 1 { "s" } else { "" });
            format!("{what} of the {}: {}{more}", table.what, names.join(", "))
        })
        .collect();
    if !problems.is_empty() {
        return Err(problems.join("; "));
    }
    Ok(names.iter().filter_map(|name| table.place(name)).collect())
}

/// The cells of a line of CSV, and why it cannot be read.
fn record(line: &Line, places: &[usize], table: &Table) -> (Texts, Option<String>) {
    let (cells, problem) = records::cells(&line.bytes);
    let mut problem = problem.map(str::to_owned);
    let mut texts: Texts = vec![None; table.columns.len()];
    for (place, cell) in places.iter().zip(&cells) {
        if std::str::from_utf8(cell).is_err() {
            problem.get_or_insert_with(|| "is not UTF-8".to_owned());
        }
        texts[*place] = Some(String::from_utf8_lossy(cell).into_owned());
    }
    if cells.len() != places.len() {
        let (cells, columns) = (cells.len(), places.len());
        problem.get_or_insert_with(|| format!("has {cells} cells, the header {columns}"));
    }
    if line.is_cut {
        problem = Some(too_long());
    }
    (texts, problem)
}

/// The members of a JSON object, and why it cannot be read.
fn object(line: &Line, table: &Table) -> (Texts, Option<String>) {
    let mut object = Object {
        table,
        texts: vec![None; table.columns.len()],
        problems: Vec::new(),
    };
    if line.is_cut {
        return (object.texts, Some(too_long()));
    }
    let mut json = serde_json::Deserializer::from_slice(&line.bytes);
    if let Err(error) = json.deserialize_map(&mut object).and_then(|()| json.end()) {
        object.problems.push(format!("is no JSON object: {error}"));
    }
    let problems = object.problems.join("; ");
    (object.texts, (!problems.is_empty()).then_some(problems))
}

/// An object's members as cells.
struct Object<'a> {
    table: &'a Table,
    texts: Texts,
    problems: Vec<String>,
}

impl<'de> Visitor<'de> for &mut Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            let Some(place) = self.table.place(&name) else {
                self.problems.push(format!("unknown column {name:?}"));
                continue;
            };
            let text = match value.get().as_bytes().first() {
                Some(b'"') => serde_json::from_str(value.get()).ok(),
                Some(b'n') => Some(String::new()),
                Some(b'-' | b'0'..=b'9') => Some(value.get().to_owned()),
                _ => None,
            };
            if text.is_none() {
                self.problems
                    .push(format!("{name} must be a text or a number"));
            }
            if self.texts[place].is_some() {
                self.problems.push(format!("{name} is there twice"));
            }
            self.texts[place] = text;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
