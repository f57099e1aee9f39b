//! Lengths of files, functions and parameter lists.

use crate::source::{Source, item_end};

/// Whether `source` begins with `//!`.
pub(crate) fn has_docs(source: &Source) -> bool {
    source
        .text
        .lines()
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| line.starts_with("//!"))
}

/// What stands out in `source`, one sentence each; tests are not judged.
pub(crate) fn remarks(source: &Source) -> Vec<String> {
    let mut remarks = Vec::new();
    let production = production_lines(source);
    if production > FILE_LINES {
        remarks.push(format!("{} has {production} production lines", source.path));
    }
    for function in functions(&source.code) {
        let Function { name, line, lines, parameters } = function;
        let place = format!("{}:{line} {name}", source.path);
        if lines > FUNCTION_LINES {
            remarks.push(format!("{place} has {lines} lines"));
        }
        if parameters > PARAMETERS {
            remarks.push(format!("{place} takes {parameters} parameters"));
        }
    }
    remarks
}

/// Lines of the file, comments included, up to and without its tests.
fn production_lines(source: &Source) -> usize {
    let last = (1..).zip(source.code.lines()).filter(|(_, line)| !line.trim().is_empty()).last();
    last.map_or(0, |(number, _)| number)
}

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
    parameters: usize,
}

/// The functions of `code` (blanked), nested ones included.
fn functions(code: &str) -> Vec<Function> {
    let starts = code.match_indices("fn ").filter(|(at, _)| {
        let before = code.get(..*at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    });
    starts.filter_map(|(at, _)| function(code, at)).collect()
}

fn function(code: &str, at: usize) -> Option<Function> {
    let item = code.get(at..)?;
    let item = item.get(..item_end(item))?;
    let head = item.get("fn ".len()..)?;
    let name: String = head.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() || item.ends_with(';') {
        return None;
    }
    let line = code.get(..at)?.lines().count().max(1);
    Some(Function { name, line, lines: item.lines().count(), parameters: parameters(head) })
}

/// Parameters (without `self`) of the first parameter list in `head`: one colon each.
fn parameters(head: &str) -> usize {
    let mut depth = 0_i32;
    let mut angles = 0_i32;
    let mut count = 0;
    let mut before = ' ';
    let mut rest = head.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '<' => angles += 1,
            '>' if before != '-' && before != '=' => angles -= 1,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth -= 1;
                if depth == 0 && angles == 0 {
                    return count;
                }
            }
            ':' if depth == 1 && angles == 0 && before != ':' && rest.peek() != Some(&':') => {
                count += 1
            }
            _ => {}
        }
        before = c;
    }
    count
}

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 40;
const PARAMETERS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("a/src/lib.rs", text)
    }

    #[test]
    fn docs_come_first() {
        assert!(has_docs(&source("//! What.\nuse x;")));
        assert!(has_docs(&source("\n//! What.")));
        assert!(!has_docs(&source("// What.\n//! Late.")));
        assert!(!has_docs(&source("use x;\n//! Late.")));
        assert!(!has_docs(&source("")));
    }

    #[test]
    fn long_functions_stand_out_and_tests_do_not() {
        let body = "x;\n".repeat(40);
        let long = format!("fn long() {{\n{body}}}\n");
        assert_eq!(remarks(&source(&long)), ["a/src/lib.rs:1 long has 42 lines"]);
        assert_eq!(remarks(&source(&format!("#[cfg(test)]\nmod tests {{ {long} }}"))).len(), 0);
        assert_eq!(remarks(&source("fn short() {\n}\n")).len(), 0);
    }

    #[test]
    fn long_files_stand_out_by_their_production_lines() {
        let lines = "use x;\n".repeat(401);
        assert_eq!(remarks(&source(&lines)), ["a/src/lib.rs has 401 production lines"]);
        let tested = format!("use x;\n#[cfg(test)]\nmod tests {{\n{lines}}}");
        assert_eq!(remarks(&source(&tested)).len(), 0);
    }

    #[test]
    fn parameters_are_counted_without_self() {
        let count = |head: &str| functions(&format!("fn {head} {{}}")).remove(0).parameters;
        assert_eq!(count("f()"), 0);
        assert_eq!(count("f(&mut self, a: u8, b: std::io::Error)"), 2);
        assert_eq!(count("f<T: Into<u8>, F: Fn(u8) -> u8>(a: T, b: BTreeMap<u8, (u8, u8)>)"), 2);
        assert_eq!(count("f(a: u8, b: u8, c: u8, d: u8, e: u8, f: [u8; 2]) -> Vec<u8>"), 6);
    }

    #[test]
    fn functions_are_found_where_they_stand() {
        let code = "trait T { fn declared(a: u8); }\nimpl T {\n  pub fn given(&self) {\n  }\n}";
        let found = functions(code);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].line, found[0].lines), ("given", 3, 2));
    }
}
