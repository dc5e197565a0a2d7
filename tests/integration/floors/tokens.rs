//! Rust source as words and signs with their lines: comments are gone, literals are empty.

/// A word or a single sign of a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    /// From 1.
    pub line: usize,
}

/// Returns the tokens of `source`; a literal of any kind is the one token `""`.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (length, text) = match literal(rest) {
            Some(length) => (length, Some("\"\"")),
            None if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), None),
            None if rest.starts_with("/*") => (block_comment(rest), None),
            None if first.is_whitespace() => (first.len_utf8(), None),
            None => {
                let length = word(rest).max(first.len_utf8());
                (length, Some(&rest[..length]))
            }
        };
        tokens.extend(text.map(|text| Token { text, line }));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// Returns the length of the word that `text` begins with; 0 when it begins with something else.
fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Returns the length of a comment that may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        match here {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Returns the length of the string or character literal that `text` begins with.
fn literal(text: &str) -> Option<usize> {
    let prefix = word(text);
    let (before, body) = text.split_at(prefix);
    if before.ends_with('r') && matches!(before, "r" | "br" | "cr") {
        let hashes = body.len() - body.trim_start_matches('#').len();
        if body[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let inner = &body[hashes + 1..];
            return Some(prefix + hashes + 1 + inner.find(&end).map_or(inner.len(), |at| at + end.len()));
        }
    }
    if !matches!(before, "" | "b" | "c") {
        return None;
    }
    match body.chars().next()? {
        '"' => Some(prefix + closing(body, b'"')),
        // A lifetime has no second quote behind its first character.
        '\'' if body[1..].starts_with('\\') || body[1..].chars().nth(1) == Some('\'') => {
            Some(prefix + closing(body, b'\''))
        }
        _ => None,
    }
}

/// Returns the length up to and with the closing quote, passing over escaped ones.
fn closing(body: &str, quote: u8) -> usize {
    let bytes = body.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}
