//! Relative links in the documents, and whether they lead somewhere.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::source;

/// The broken relative links of every `.md` file below `root`, one sentence each.
pub(crate) fn broken(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for file in source::files(root, "md")? {
        let text =
            fs::read_to_string(root.join(&file)).with_context(|| format!("cannot read {file}"))?;
        for link in links(&text) {
            if let Some(fault) = fault(root, &file, &link) {
                faults.push(format!("{file} links to `{link}`, {fault}"));
            }
        }
    }
    Ok(faults)
}

fn fault(root: &Path, file: &str, link: &str) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let from = root.join(file);
    let target = match path {
        "" => from,
        path => from.parent()?.join(path),
    };
    if !target.exists() {
        return Some("which does not exist");
    }
    let is_document = target.extension().is_some_and(|extension| extension == "md");
    let lost = !anchor.is_empty() && is_document && !headings(&target).iter().any(|h| h == anchor);
    lost.then_some("whose heading does not exist")
}

/// The targets of the inline links of `text`, code left out.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let odd_parts_are_code = line.split('`').step_by(2);
        for part in odd_parts_are_code {
            let targets = part.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.map(|target| target.trim().to_owned()));
        }
    }
    // A label in code style (`[`name`](target)`) splits at its backquotes; the target is in the part behind.
    found
}

/// The anchors of the headings in the document `path`, as GitHub spells them.
fn headings(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    prose(&text)
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// The lines of `text` outside fenced code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_in_prose_alone() {
        let text = "See [a](b.md) and [`c`](d/e.md#f).\n```text\n[x](y.md)\n```\n`[u](v.md)` [w](http://z)";
        assert_eq!(links(text), ["b.md", "d/e.md#f", "http://z"]);
    }

    #[test]
    fn a_link_must_lead_to_a_file_and_its_heading() {
        let root = std::env::temp_dir().join(format!("links-{}", std::process::id()));
        fs::create_dir_all(root.join("docs")).unwrap();
        fs::write(root.join("docs/a.md"), "# One two: three\n").unwrap();
        fs::write(
            root.join("README.md"),
            "[1](docs/a.md) [2](docs/a.md#one-two-three) [3](docs/b.md) [4](docs/a.md#gone) [5](https://x)",
        )
        .unwrap();
        let found = broken(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let expect = [
            "README.md links to `docs/b.md`, which does not exist",
            "README.md links to `docs/a.md#gone`, whose heading does not exist",
        ];
        assert_eq!(found, expect);
    }
}
