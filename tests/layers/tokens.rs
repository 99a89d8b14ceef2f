//! Which modules of this crate does a source text name?
//!
//! A reader of just enough Rust: comments and literals are passed over, `crate::` and `super::` paths are
//! followed through the braces of a `use`, and inline modules count where `super` begins.

/// The module paths that a file of module `module` names, with their lines. `super` is resolved.
pub fn imports(module: &str, text: &str) -> Vec<(usize, String)> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let word = tokens[at].text.as_str();
        let is_start = at == 0 || tokens[at - 1].text != "::";
        match word {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last().is_some_and(|(_, opened)| *opened > depth) {
                    inline.pop();
                }
            }
            "mod" if tokens.get(at + 2).is_some_and(|next| next.text == "{") => {
                inline.push((tokens[at + 1].text.clone(), depth + 1));
            }
            "crate" if is_start && follows(&tokens, at) => {
                at = tree(&tokens, at + 2, Vec::new(), &mut found);
                continue;
            }
            "super" if is_start && follows(&tokens, at) => {
                let mut base: Vec<String> = module.split("::").map(str::to_string).collect();
                base.extend(inline.iter().map(|(name, _)| name.clone()));
                base.pop();
                at += 2;
                while tokens.get(at).is_some_and(|next| next.text == "super") {
                    base.pop();
                    at += if follows(&tokens, at) { 2 } else { 1 };
                }
                at = tree(&tokens, at, base, &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The identifiers and keywords of a text.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    tokens(text).into_iter().map(|token| token.text)
}

struct Token {
    text: String,
    line: usize,
}

fn follows(tokens: &[Token], at: usize) -> bool {
    tokens.get(at + 1).is_some_and(|next| next.text == "::")
}

/// Reads a path, or the braces of a `use`, that continues `base`. Returns where it ends.
fn tree(tokens: &[Token], mut at: usize, mut base: Vec<String>, found: &mut Vec<(usize, String)>) -> usize {
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        if token.text == "{" {
            at += 1;
            while let Some(next) = tokens.get(at) {
                match next.text.as_str() {
                    "}" => return at + 1,
                    "," => at += 1,
                    _ => at = tree(tokens, at, base.clone(), found).max(at + 1),
                }
            }
            return at;
        }
        if !token.text.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            break;
        }
        if token.text != "self" {
            base.push(token.text.clone());
        }
        at += 1;
        if tokens.get(at).is_none_or(|next| next.text != "::") {
            break;
        }
        at += 1;
    }
    // `use super::*` from the top of a module names the module, `pub(in super::super)` names none.
    if !base.is_empty() {
        found.push((line, base.join("::")));
    }
    // `as name` belongs to the path.
    if tokens.get(at).is_some_and(|next| next.text == "as") { at + 2 } else { at }
}

/// Identifiers, `::`, and single punctuation; comments, literals and lifetimes are left out.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    let looks_at =
        |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    while at < chars.len() {
        let end = if looks_at(at, "//") {
            (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len())
        } else if looks_at(at, "/*") {
            comment(&chars, at)
        } else if chars[at] == '"' {
            string(&chars, at)
        } else if chars[at] == '\'' {
            quote(&chars, at)
        } else if chars[at].is_alphanumeric() || chars[at] == '_' {
            let end = (at..chars.len())
                .find(|&i| !chars[i].is_alphanumeric() && chars[i] != '_')
                .unwrap_or(chars.len());
            let word: String = chars[at..end].iter().collect();
            let hashes = (end..chars.len()).take_while(|&i| chars[i] == '#').count();
            if ["r", "br", "cr"].contains(&word.as_str()) && chars.get(end + hashes) == Some(&'"') {
                raw_string(&chars, end + hashes, hashes)
            } else {
                tokens.push(Token { text: word, line });
                end
            }
        } else {
            let is_path = looks_at(at, "::");
            if !chars[at].is_whitespace() {
                let text = if is_path { "::".to_string() } else { chars[at].to_string() };
                tokens.push(Token { text, line });
            }
            at + if is_path { 2 } else { 1 }
        };
        line += chars[at..end].iter().filter(|&&c| c == '\n').count();
        at = end;
    }
    tokens
}

/// Block comments nest.
fn comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn raw_string(chars: &[char], quote: usize, hashes: usize) -> usize {
    let closes =
        |i: usize| chars[i] == '"' && chars[i + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    (quote + 1..chars.len()).find(|&i| closes(i)).map_or(chars.len(), |i| i + 1 + hashes)
}

/// A character literal, or a lifetime's mark.
fn quote(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => {
            (start + 3..chars.len()).find(|&i| chars[i] == '\'').map_or(chars.len(), |i| i + 1)
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start + 1,
    }
}
