//! A little of Rust's grammar: text without comments and literals, and the words in it. Called by the rules;
//! knows no rule.

/// The same text with every comment, string and character literal turned into spaces; lines stay where they are.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end > at {
            out.extend(
                bytes[at..end]
                    .iter()
                    .map(|&b| if b == b'\n' { b'\n' } else { b' ' }),
            );
            at = end;
        } else {
            // A name is taken whole, so that the r of `for` never begins a raw string.
            let end = name_end(bytes, at).max(at + 1);
            out.extend(&bytes[at..end]);
            at = end;
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

fn name_end(bytes: &[u8], at: usize) -> usize {
    let name = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
    at + bytes[at..].iter().take_while(|b| name(**b)).count()
}

/// The end of the comment or literal that begins at `at`, or `at` when none does.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return at + block_comment(rest);
    }
    let prefix = rest
        .iter()
        .take_while(|b| matches!(b, b'b' | b'c' | b'r'))
        .count()
        .min(2);
    let raw = rest[..prefix].contains(&b'r');
    let hashes = if raw {
        rest[prefix..].iter().take_while(|b| **b == b'#').count()
    } else {
        0
    };
    let open = prefix + hashes;
    match rest.get(open) {
        Some(b'"') if raw => at + raw_string(rest, open + 1, hashes),
        Some(b'"') => at + quoted(rest, open + 1, b'"'),
        Some(b'\'') if hashes == 0 && !raw && is_char(&rest[open..]) => at + quoted(rest, open + 1, b'\''),
        _ => at,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn raw_string(rest: &[u8], from: usize, hashes: usize) -> usize {
    let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let found = rest[from..].windows(close.len()).position(|w| w == close);
    found.map_or(rest.len(), |at| from + at + close.len())
}

fn quoted(rest: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Tells 'x' from the lifetime 'x: a character closes, a lifetime does not.
fn is_char(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(first) => {
            let width = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            rest.get(1 + width) == Some(&b'\'')
        }
        None => false,
    }
}

/// Every identifier of blanked code with the number of its line.
pub fn names(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(number, line)| {
        line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .filter(|name| name.chars().next().is_some_and(|c| !c.is_ascii_digit()))
            .map(move |name| (number + 1, name))
    })
}

/// What follows `prefix::` in paths and in `use prefix::{a, b::c}`, with the numbers of their lines.
pub fn after<'a>(code: &'a str, prefix: &str) -> Vec<(usize, &'a str)> {
    let wanted = format!("{prefix}::");
    let mut found = Vec::new();
    for (start, _) in code.match_indices(&wanted) {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let line = code[..start].matches('\n').count() + 1;
        let rest = &code[start + wanted.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group).into_iter().map(|name| (line, name))),
            None => found.push((line, leading_name(rest))),
        }
    }
    found
}

fn leading_name(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len())]
}

/// The first segment of each member of `{a, b::c, d::{e, f}}`, the opening brace already taken.
fn group_heads(group: &str) -> Vec<&str> {
    let (mut depth, mut heads, mut begun) = (0usize, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.push(leading_name(&group[begun..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(leading_name(&group[begun..at]));
                begun = at + 1;
            }
            _ => {}
        }
    }
    heads.retain(|name| !name.is_empty());
    heads
}

/// A function's name, the line of its `fn`, and how many lines it has to its closing brace.
pub struct Function<'a> {
    pub name: &'a str,
    pub line: usize,
    pub lines: usize,
}

pub fn functions(code: &str) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let name = leading_name(&code[start + 3..]);
        if name.is_empty() || code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        if let Some(end) = body_end(&code[start..]) {
            let line = code[..start].matches('\n').count() + 1;
            let lines = code[start..start + end].matches('\n').count() + 1;
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// Where the body ends; none for a declaration without one.
fn body_end(code: &str) -> Option<usize> {
    let (mut round, mut curly) = (0usize, 0usize);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round = round.saturating_sub(1),
            ';' if curly == 0 && round == 0 => return None,
            '{' => curly += 1,
            '}' if curly <= 1 => return (curly == 1).then_some(at),
            '}' => curly -= 1,
            _ => {}
        }
    }
    None
}
