//! Paths in blanked Rust code: `use` trees laid out flat, and paths written in place.

/// Every path of more than one segment in `code`, as its segments, with its line; `use` groups are
/// multiplied out, so that `use crate::{node::A, config}` gives two paths.
pub(crate) fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut reader = Reader { tokens: tokens(code), at: 0, found: Vec::new() };
    while reader.at < reader.tokens.len() {
        reader.step();
    }
    reader.found
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Colons,
    Other(char),
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut out = Vec::new();
    for (number, line) in (1..).zip(code.lines()) {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let (token, len) = token(rest, c);
            out.extend(token.map(|token| (number, token)));
            rest = rest.get(len..).unwrap_or_default();
        }
    }
    out
}

fn token(rest: &str, c: char) -> (Option<Token>, usize) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if rest.starts_with("::") {
        return (Some(Token::Colons), 2);
    }
    if is_word(c) {
        let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        return (rest.get(..len).map(|word| Token::Word(word.to_owned())), len);
    }
    let token = (!c.is_whitespace()).then_some(Token::Other(c));
    (token, c.len_utf8())
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    at: usize,
    found: Vec<(usize, Vec<String>)>,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn step(&mut self) {
        match self.peek() {
            Some(Token::Word(word)) if word == "use" => {
                self.at += 1;
                self.tree(&[]);
            }
            Some(Token::Word(_)) => self.in_place(),
            _ => self.at += 1,
        }
    }

    /// One `use` tree, below `prefix`.
    fn tree(&mut self, prefix: &[String]) {
        let line = self.tokens.get(self.at).map_or(0, |(line, _)| *line);
        let mut path = prefix.to_vec();
        loop {
            match self.peek().cloned() {
                Some(Token::Colons) => self.at += 1,
                Some(Token::Word(word)) if word == "as" => self.at += 2,
                Some(Token::Word(word)) => {
                    path.push(word);
                    self.at += 1;
                }
                Some(Token::Other('{')) => return self.group(&path),
                Some(Token::Other('*')) => self.at += 1,
                _ => break,
            }
        }
        if path.len() > prefix.len() {
            self.found.push((line, path));
        }
    }

    /// The trees between braces, each below `prefix`.
    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        while let Some(token) = self.peek() {
            match token {
                Token::Other('}') => {
                    self.at += 1;
                    return;
                }
                Token::Word(_) | Token::Colons => self.tree(prefix),
                Token::Other(_) => self.at += 1,
            }
        }
    }

    /// A path in an expression, a type or an attribute.
    fn in_place(&mut self) {
        let line = self.tokens.get(self.at).map_or(0, |(line, _)| *line);
        let mut path = Vec::new();
        while let Some(Token::Word(word)) = self.peek() {
            path.push(word.clone());
            self.at += 1;
            if self.peek() != Some(&Token::Colons) {
                break;
            }
            self.at += 1;
        }
        if path.len() > 1 {
            self.found.push((line, path));
        }
    }
}
