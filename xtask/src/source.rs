//! Rust sources as the checks see them: code without comments, literals and tests.
//!
//! Not a parser: a lexer that knows just enough to blank what must not be judged. Blanked text keeps
//! its line breaks, so that line numbers stay true.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// One Rust file of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Path from the root of the workspace, with forward slashes.
    pub(crate) path: String,
    /// The file as it is.
    pub(crate) text: String,
    /// The file without comments, literals and test modules; empty if all of it is test.
    pub(crate) code: String,
}

impl Source {
    /// A file at `path` with content `text`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if is_test(path) { String::new() } else { without_tests(&blanked(text)) };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// The identifiers of the code, each with its line.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..)
            .zip(self.code.lines())
            .flat_map(|(number, line)| words(line).map(move |word| (number, word)))
    }

    /// The line of the first use of `word` as an identifier.
    pub(crate) fn line_of(&self, word: &str) -> Option<usize> {
        self.words().find(|(_, found)| *found == word).map(|(line, _)| line)
    }
}

/// Every `.rs` file below `root`, sorted by path; build output and hidden directories left out.
pub(crate) fn read_all(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in files(root, "rs")? {
        let text =
            fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
        sources.push(Source::new(&path, &text));
    }
    blank_test_modules(&mut sources);
    Ok(sources)
}

/// Every file below `root` whose name ends with `.extension`, sorted, relative to `root`.
pub(crate) fn files(root: &Path, extension: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot list {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                let relative = path.strip_prefix(root).unwrap_or(&path);
                found.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The identifiers of one line of code.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// Whether everything in the file at `path` is test or example.
pub(crate) fn is_test(path: &str) -> bool {
    let in_directory = ["tests", "benches", "examples", "fuzz"]
        .iter()
        .any(|name| path.split('/').rev().skip(1).any(|part| part == *name));
    in_directory || path.ends_with("/tests.rs")
}

/// Empties the files of modules that are declared under `#[cfg(test)]` elsewhere.
fn blank_test_modules(sources: &mut [Source]) {
    let declared: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in sources {
        let of_test_module = |module: &String| {
            source.path == format!("{module}.rs") || source.path.starts_with(&format!("{module}/"))
        };
        if declared.iter().any(of_test_module) {
            source.code.clear();
        }
    }
}

/// Paths (without `.rs`) of the modules that `source` declares under `#[cfg(test)]`.
fn test_modules(source: &Source) -> Vec<String> {
    let text = blanked(&source.text);
    let stem = source.path.trim_end_matches(".rs");
    let (parent, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let home = if matches!(name, "mod" | "lib" | "main") { parent } else { stem };
    text.split(TEST_ATTRIBUTE)
        .skip(1)
        .filter_map(|rest| rest.trim_start().split_once(';'))
        .filter_map(|(item, _)| item.rsplit_once("mod ").map(|(_, name)| name.trim()))
        .filter(|name| words(name).eq([*name]))
        .map(|name| format!("{home}/{name}"))
        .collect()
}

/// `text` with every comment, string and character literal replaced by blanks.
pub(crate) fn blanked(text: &str) -> String {
    let mut lexer = Lexer { rest: text, out: String::with_capacity(text.len()) };
    lexer.run();
    lexer.out
}

/// `code` (already blanked) without the items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some((before, after)) = rest.split_once(TEST_ATTRIBUTE) {
        out.push_str(before);
        let end = item_end(after);
        let (item, behind) = after.split_at(end);
        out.extend(item.chars().filter(|c| *c == '\n'));
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Where the item at the start of `code` ends: behind its `;`, or behind its braces.
pub(crate) fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Reads Rust from the front and writes it out with literals and comments blanked.
struct Lexer<'a> {
    rest: &'a str,
    out: String,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while let Some(c) = self.rest.chars().next() {
            match c {
                '/' if self.rest.starts_with("//") => self.blank(line_len(self.rest)),
                '/' if self.rest.starts_with("/*") => self.blank(comment_len(self.rest)),
                '"' => self.blank(string_len(self.rest)),
                '\'' => self.quote(),
                c if c.is_alphanumeric() || c == '_' => self.word(),
                _ => self.keep(c.len_utf8()),
            }
        }
    }

    /// A word is kept, unless it is the prefix of a raw string.
    fn word(&mut self) {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, behind) = self.rest.split_at(len);
        let raw = matches!(word, "r" | "br" | "cr").then(|| raw_string_len(behind)).flatten();
        match raw {
            Some(string) => self.blank(len + string),
            None => self.keep(len),
        }
    }

    /// A quote opens a character literal or a lifetime.
    fn quote(&mut self) {
        let mut behind = self.rest.chars().skip(1);
        let (first, second) = (behind.next(), behind.next());
        match (first, second) {
            (Some('\\'), _) => {
                let escaped = self.rest.char_indices().skip(3).find(|(_, c)| *c == '\'');
                self.blank(escaped.map_or(self.rest.len(), |(at, _)| at + 1));
            }
            (Some(c), Some('\'')) => self.blank(2 + c.len_utf8()),
            _ => self.keep(1),
        }
    }

    fn keep(&mut self, len: usize) {
        let (kept, rest) = self.rest.split_at(len);
        self.out.push_str(kept);
        self.rest = rest;
    }

    fn blank(&mut self, len: usize) {
        let (gone, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.out.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }
}

fn line_len(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

fn comment_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the raw string behind its `r`: hashes, quotes and content; none if it is no string.
fn raw_string_len(text: &str) -> Option<usize> {
    let hashes = text.chars().take_while(|c| *c == '#').count();
    let body = text.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let len = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(hashes + 1 + len)
}

const TEST_ATTRIBUTE: &str = "#[cfg(test)]";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(blanked(text).split_whitespace().collect::<Vec<_>>().join(" "), expect);
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        check("a // tokio\nb", "a b");
        check("a /* x /* tokio */ y */ b", "a b");
        check(r#"f("to\"kio", b"x") + 1"#, "f( , b ) + 1");
        check(r###"f(r#"tok"io"#, 'x', '\'', '\u{41}')"###, "f( , , , )");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("r#type + bread", "r#type + bread");
    }

    #[test]
    fn blanking_keeps_line_numbers() {
        let source = Source::new("a/src/lib.rs", "/* 1\n 2 */\n\"\n\"; tokio::x");
        assert_eq!(source.line_of("tokio"), Some(4));
        assert_eq!(source.line_of("x"), Some(4));
        assert_eq!(source.line_of("toki"), None);
    }

    #[test]
    fn test_items_are_no_code() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { c() } }\nfn d() {}\n#[cfg(test)]\nuse e;\nfn f() {}";
        let source = Source::new("a/src/lib.rs", text);
        let found: Vec<_> = source.words().filter(|(_, word)| word.len() == 1).collect();
        assert_eq!(found, [(1, "a"), (4, "d"), (7, "f")]);
    }

    #[test]
    fn files_of_test_modules_are_no_code() {
        let mut sources = vec![
            Source::new("a/src/lib.rs", "mod x;\n#[cfg(test)]\nmod kit;"),
            Source::new("a/src/kit.rs", "tokio"),
            Source::new("a/src/x.rs", "#[cfg(test)]\npub(crate) mod y;"),
            Source::new("a/src/x/y.rs", "tokio"),
            Source::new("a/src/kitten.rs", "tokio"),
        ];
        blank_test_modules(&mut sources);
        let judged: Vec<_> = sources.iter().filter(|s| s.line_of("tokio").is_some()).collect();
        assert_eq!(judged.len(), 1);
        assert_eq!(judged[0].path, "a/src/kitten.rs");
    }

    #[test]
    fn tests_and_examples_are_known_by_their_place() {
        assert!(is_test("a/tests/x.rs"));
        assert!(is_test("a/src/node/tests.rs"));
        assert!(is_test("a/src/node/tests/x.rs"));
        assert!(is_test("fuzz/src/x.rs"));
        assert!(!is_test("a/src/tests_of_life.rs"));
        assert!(!is_test("a/src/test.rs"));
    }
}
