//! Lines of a file in bounded memory, and the cells of one. A record is one line: what is wrong
//! with it, an open quote included, never reaches the next one.

use std::io::{self, BufRead};

/// The longest line, in bytes.
pub const MAX_LINE: usize = 64 * 1024;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Its bytes; of one that is too long the first.
    pub bytes: Vec<u8>,
    /// Whether it is longer than [`MAX_LINE`].
    pub is_cut: bool,
}

/// What a line is refused for that is longer than [`MAX_LINE`].
pub fn too_long() -> String {
    format!("is longer than {MAX_LINE} bytes")
}

/// The next line, to its end, of which no more than [`MAX_LINE`] is kept.
///
/// # Errors
/// The file cannot be read any further.
pub fn next_line(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    let (mut is_cut, mut has_some) = (false, false);
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        has_some = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let here = &buffer[..end.unwrap_or(buffer.len())];
        let kept = here.len().min(MAX_LINE - bytes.len());
        bytes.extend_from_slice(&here[..kept]);
        is_cut |= kept < here.len();
        let count = here.len() + usize::from(end.is_some());
        input.consume(count);
        if end.is_some() {
            break;
        }
    }
    if bytes.ends_with(b"\r") && !is_cut {
        bytes.pop();
    }
    Ok(has_some.then_some(Line { bytes, is_cut }))
}

/// The cells of a line of CSV, and what is wrong with it as a whole.
pub fn cells(line: &[u8]) -> (Vec<Vec<u8>>, Option<&'static str>) {
    let mut cells = vec![Vec::new()];
    let mut bytes = line.iter().copied().peekable();
    let (mut is_quoted, mut is_fresh, mut has_break) = (false, true, false);
    while let Some(byte) = bytes.next() {
        has_break |= byte == b'\r';
        let was_fresh = std::mem::take(&mut is_fresh);
        match byte {
            b'"' if is_quoted && bytes.peek() == Some(&b'"') => {
                bytes.next();
            }
            b'"' if is_quoted => {
                is_quoted = false;
                continue;
            }
            b'"' if was_fresh => {
                is_quoted = true;
                continue;
            }
            b',' if !is_quoted => {
                is_fresh = true;
                cells.push(Vec::new());
                continue;
            }
            _ => {}
        }
        if let Some(cell) = cells.last_mut() {
            cell.push(byte);
        }
    }
    let problem = match (is_quoted, has_break) {
        (true, _) => Some("has a quote that is not closed: no cell may have a line break"),
        (false, true) => Some("has a line break in a cell"),
        (false, false) => None,
    };
    (cells, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        let (cells, problem) = cells(line.as_bytes());
        assert_eq!(problem, None, "{line}");
        let text = |cell| String::from_utf8(cell).expect("it is text");
        cells.into_iter().map(text).collect()
    }

    #[test]
    fn cells_are_split_at_commas_outside_quotes() {
        assert_eq!(split("a,b,"), ["a", "b", ""]);
        assert_eq!(split("\"a,\"\"b\"\"\",c"), ["a,\"b\"", "c"]);
        assert_eq!(split("\"\",\"\"\"\""), ["", "\""]);
        assert_eq!(split("a\"b,\"c\"d"), ["a\"b", "cd"]);
    }

    #[test]
    fn a_line_break_in_a_cell_is_told() {
        let (found, problem) = cells(b"a,\"b,c");
        assert_eq!(found, [b"a".to_vec(), b"b,c".to_vec()]);
        assert!(problem.is_some_and(|it| it.contains("not closed")));
        assert!(cells(b"a\rb,c").1.is_some_and(|it| it.contains("break")));
        assert!(cells(b"\"a\rb\",c").1.is_some());
    }

    #[test]
    fn of_a_line_that_is_too_long_only_the_first_bytes_are_kept() {
        let mut text = vec![b'x'; MAX_LINE];
        text.extend(b"\r\n\n");
        text.extend(vec![b'y'; 3 * MAX_LINE]);
        text.extend(b"\nlast");
        let mut input = io::BufReader::with_capacity(1_000, &text[..]);
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input).expect("it can be read") {
            lines.push((line.bytes.len(), line.is_cut));
        }
        // The line's own end does not count, but nobody looks that far ahead for it.
        assert_eq!(
            lines,
            [(MAX_LINE, true), (0, false), (MAX_LINE, true), (4, false)]
        );
    }
}
