//! A file as lines of cells: CSV with a header, or JSON lines. The file is read once, from one end
//! to the other, and hashed by the way.
//!
//! What makes the whole file useless (its header, its disk) is an error; what is wrong with one
//! line is said of that line.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use csv::ByteRecord;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::UsageError;
use super::cells::{Table, Texts};

/// The longest line of JSON, in bytes.
const MAX_LINE: u64 = 1 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLine {
    /// Counted from 1, the header included; of a record of several lines the first.
    pub number: i64,
    /// What its cells say.
    pub texts: Texts,
    /// Why it cannot be read as it is.
    pub problem: Option<String>,
}

/// Reads a file line by line.
pub struct Reader {
    table: &'static Table,
    lines: Lines,
}

enum Lines {
    Csv {
        reader: Box<csv::Reader<Numbered>>,
        /// Where each cell of a record belongs.
        places: Vec<usize>,
    },
    Json {
        input: Input,
        number: i64,
    },
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

/// Knows the lines of what was read ahead. The parser's own numbers are those of the blank lines
/// before a record, and of the line before where lines end in two characters.
struct Numbered {
    input: Input,
    /// How much was read.
    offset: u64,
    /// The number of the line that is being read.
    line: i64,
    /// Whether nothing of it was read yet.
    fresh: bool,
    /// Where the lines that are not blank start.
    starts: VecDeque<(u64, i64)>,
}

impl Numbered {
    const fn new(input: Input) -> Self {
        Self {
            input,
            offset: 0,
            line: 1,
            fresh: true,
            starts: VecDeque::new(),
        }
    }

    /// The first line that is not blank from an offset on; what is before it is forgotten.
    fn line_at(&mut self, offset: u64) -> i64 {
        while self
            .starts
            .front()
            .is_some_and(|(start, _)| *start < offset)
        {
            self.starts.pop_front();
        }
        self.starts.front().map_or(self.line, |(_, line)| *line)
    }
}

impl Read for Numbered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        for byte in &buffer[..count] {
            match byte {
                b'\n' => (self.line, self.fresh) = (self.line + 1, true),
                b'\r' => {}
                _ if self.fresh => {
                    self.starts.push_back((self.offset, self.line));
                    self.fresh = false;
                }
                _ => {}
            }
            self.offset += 1;
        }
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
        let lines = if is_json {
            Lines::Json { input, number: 0 }
        } else {
            Lines::csv(input, table).with_context(|| format!("{name}"))?
        };
        Ok(Self { table, lines })
    }

    /// The next line; blank ones are passed over.
    ///
    /// # Errors
    /// The file cannot be read any further.
    pub fn next_line(&mut self) -> anyhow::Result<Option<FileLine>> {
        let table = self.table;
        match &mut self.lines {
            Lines::Csv { reader, places } => next_record(reader, places, table),
            Lines::Json { input, number } => next_object(input, number, table),
        }
    }

    /// The hash of all that was read: of the file, once it has come to its end.
    pub fn finish(self) -> [u8; 32] {
        let input = match self.lines {
            Lines::Csv { reader, .. } => reader.into_inner().input,
            Lines::Json { input, .. } => input,
        };
        input.into_inner().hash.finalize().into()
    }
}

impl Lines {
    fn csv(input: Input, table: &Table) -> anyhow::Result<Self> {
        let builder = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(Numbered::new(input));
        let mut reader = Box::new(builder);
        let mut header = ByteRecord::new();
        if !reader.read_byte_record(&mut header)? {
            bail!(UsageError("is empty: it needs a header".to_owned()));
        }
        let names = header.iter().map(|name| String::from_utf8_lossy(name));
        let names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
        let places = places(&names, table).map_err(UsageError)?;
        Ok(Self::Csv { reader, places })
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

fn next_record(
    reader: &mut csv::Reader<Numbered>,
    places: &[usize],
    table: &Table,
) -> anyhow::Result<Option<FileLine>> {
    let mut record = ByteRecord::new();
    if !reader.read_byte_record(&mut record)? {
        return Ok(None);
    }
    let start = record.position().map_or(0, csv::Position::byte);
    let number = reader.get_mut().line_at(start);
    let mut texts: Texts = vec![None; table.columns.len()];
    let mut problem = None;
    for (place, cell) in places.iter().zip(&record) {
        if std::str::from_utf8(cell).is_err() {
            problem = Some("is not UTF-8".to_owned());
        }
        texts[*place] = Some(String::from_utf8_lossy(cell).into_owned());
    }
    if record.len() != places.len() {
        let (cells, columns) = (record.len(), places.len());
        problem = Some(format!("has {cells} cells, the header {columns}"));
    }
    Ok(Some(FileLine {
        number,
        texts,
        problem,
    }))
}

fn next_object(
    input: &mut Input,
    number: &mut i64,
    table: &Table,
) -> anyhow::Result<Option<FileLine>> {
    loop {
        let mut line = Vec::new();
        input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        *number += 1;
        if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            bail!("line {number} is longer than {MAX_LINE} bytes");
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut object = Object {
            table,
            texts: vec![None; table.columns.len()],
            problems: Vec::new(),
        };
        let mut json = serde_json::Deserializer::from_slice(&line);
        if let Err(error) = json.deserialize_map(&mut object).and_then(|()| json.end()) {
            object.problems.push(format!("is no JSON object: {error}"));
        }
        let problems = object.problems.join("; ");
        return Ok(Some(FileLine {
            number: *number,
            texts: object.texts,
            problem: (!problems.is_empty()).then_some(problems),
        }));
    }
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
