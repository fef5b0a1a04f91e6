//! One source file, and as much reading of Rust as the house rules need: no parser, but it knows
//! a comment from a string, and where a function ends.

/// One source file.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments and literals blanked, line by line the same.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: blank(text),
        }
    }

    /// The module under `src` that the file belongs to: `store` for `src/store/batch.rs`.
    pub fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        let name = rest.split('/').next()?;
        Some(name.strip_suffix(".rs").unwrap_or(name))
    }

    pub fn problem(&self, offset: usize, what: &str) -> String {
        let line = self.code[..offset].matches('\n').count() + 1;
        format!("{}:{line}: {what}", self.path)
    }
}

/// Blanks comments, strings and character literals, keeping every newline where it is.
fn blank(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment_length(rest),
            '"' => 1 + string_length(&rest[1..]),
            'r' if !is_word(previous) || previous == 'b' => raw_string_length(rest),
            '\'' => character_length(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(first);
            previous = first;
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(
                rest[..length]
                    .chars()
                    .map(|c| if c == '\n' { '\n' } else { ' ' }),
            );
            previous = ' ';
            rest = &rest[length..];
        }
    }
    code
}

/// Block comments nest.
fn comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut position = 0;
    while position < text.len() {
        if text[position..].starts_with("/*") {
            depth += 1;
            position += 2;
        } else if text[position..].starts_with("*/") {
            depth -= 1;
            position += 2;
            if depth == 0 {
                return position;
            }
        } else {
            position += text[position..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a string after its opening quote, closing quote included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (position, c) in text.char_indices() {
        match c {
            '"' if !escaped => return position + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Zero when this `r` does not open a raw string.
fn raw_string_length(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    let body = 1 + hashes + 1;
    if text.as_bytes().get(body - 1) != Some(&b'"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    text[body..]
        .find(&end)
        .map_or(text.len(), |found| body + found + end.len())
}

/// Zero for a lifetime.
fn character_length(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        // The escaped character may itself be a quote.
        (Some((_, '\\')), Some((position, _))) => text[position + 1..]
            .find('\'')
            .map_or(0, |found| position + 1 + found + 1),
        (Some(_), Some((position, '\''))) => position + 1,
        _ => 0,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `code` has `word`, not as a part of a longer one.
pub fn find_word(code: &str, word: &str) -> Vec<usize> {
    let ends_in_word = word.ends_with(is_word);
    code.match_indices(word)
        .map(|(position, _)| position)
        .filter(|position| !code[..*position].ends_with(is_word))
        .filter(|position| !ends_in_word || !code[position + word.len()..].starts_with(is_word))
        .collect()
}

/// The functions with a body: where each begins, and how many lines it has.
pub fn functions(code: &str) -> Vec<(usize, usize)> {
    let with_body = |start: usize| {
        let body = start + body_offset(&code[start..])?;
        let end = body + braces_length(&code[body..]);
        Some((start, code[start..end].matches('\n').count() + 1))
    };
    find_word(code, "fn")
        .into_iter()
        .filter_map(with_body)
        .collect()
}

/// Where a function's `{` is; `None` when a `;` comes first, or when it is a `fn(…)` type.
fn body_offset(code: &str) -> Option<usize> {
    if !code["fn".len()..].trim_start().starts_with(is_word) {
        return None;
    }
    let mut depth = 0_i32;
    for (position, c) in code.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(position),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn braces_length(code: &str) -> usize {
    let mut depth = 0_i32;
    for (position, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return position + 1;
        }
    }
    code.len()
}

/// The names that follow `prefix` (`crate::`), also those in braces, each with its place.
pub fn names_after(code: &str, prefix: &str) -> Vec<(usize, String)> {
    let word = |text: &str| {
        text.trim_start()
            .chars()
            .take_while(|c| is_word(*c))
            .collect()
    };
    let mut names = Vec::new();
    for position in find_word(code, prefix) {
        let rest = &code[position + prefix.len()..];
        if !rest.starts_with('{') {
            names.push((position, word(rest)));
            continue;
        }
        let mut depth = 0_i32;
        for (offset, c) in rest[..braces_length(rest)].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 1 && (c == '{' || c == ',') {
                names.push((position, word(&rest[offset + 1..])));
            }
        }
    }
    names.retain(|(_, name): &(usize, String)| !name.is_empty());
    names
}

#[test]
fn blanking_keeps_code_and_lines() {
    let cases = [
        ("a // \"b\"\nc", "a       \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        (r#"f("x\"y", b"z")"#, "f(      , b   )"),
        ("r#\"a\"b\"# c", "         c"),
        ("for\"x\"", "for   "),
        ("'{' '\\'' '\\u{41}' &'a str", "                  &'a str"),
        ("é 'é' x", "é     x"),
        ("\"a\nb\"", "  \n  "),
    ];
    for (text, wanted) in cases {
        assert_eq!(blank(text), wanted, "{text}");
    }
}
