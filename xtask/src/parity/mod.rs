//! `cargo xtask parity`: what of Fabric is here, what deviates, what is missing.
//!
//! Two sources are compared: the citations in the code (`// fabric: path Function`, followed by
//! `// fabric-differs: reason` where ours is another) and the table in `docs/fabric-map.md`. The
//! table says for each function where it is; the citations prove it.

mod citations;
mod map;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::{shell, source};
use citations::Citation;
use map::{Row, Status};

/// What to list.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// List the functions of this Fabric package alone, such as `gossip/comm`.
    #[arg(long, value_name = "PATH")]
    package: Option<String>,
}

/// Prints the three lists; an error if code and table contradict each other.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = shell::root();
    let mut citations: Vec<Citation> =
        source::read_all(&root)?.iter().flat_map(|s| citations::of(&s.path, &s.text)).collect();
    let text =
        std::fs::read_to_string(root.join(MAP)).with_context(|| format!("cannot read {MAP}"))?;
    let mut rows = map::rows(&text)?;
    if let Some(package) = &args.package {
        citations.retain(|citation| citation.package == *package);
        rows.retain(|row| row.package == *package);
    }
    print_cited(&citations);
    print_deviating(&citations, &rows);
    print_missing(&rows);
    let stale = contradictions(&citations, &rows);
    for sentence in &stale {
        println!("contradiction: {sentence}");
    }
    print_counts(&citations, &rows);
    ensure!(stale.is_empty(), "{MAP} and the code contradict each other {} times", stale.len());
    Ok(())
}

fn print_cited(citations: &[Citation]) {
    println!("cited");
    for citation in citations.iter().filter(|citation| citation.names_something()) {
        println!("  {:<32} {:<36} {}", citation.package, citation.function, citation.place);
    }
}

fn print_deviating(citations: &[Citation], rows: &[Row]) {
    println!("\ndeviating");
    for citation in citations {
        if let Some(reason) = &citation.differs {
            let Citation { package, function, place, .. } = citation;
            println!("  {package:<32} {function:<36} {reason} ({place})");
        }
    }
    for row in rows.iter().filter(|row| row.status == Status::Differs) {
        println!("  {:<32} {:<36} {}", row.package, row.function, row.note);
    }
}

fn print_missing(rows: &[Row]) {
    println!("\nmissing");
    for row in rows.iter().filter(|row| row.status == Status::Missing) {
        println!("  {:<32} {}", row.package, row.function);
    }
}

fn print_counts(citations: &[Citation], rows: &[Row]) {
    let distinct = |tests: bool| {
        let kept = citations.iter().filter(|c| c.names_something() && c.is_test() == tests);
        kept.map(Citation::key).collect::<BTreeSet<_>>().len()
    };
    let deviating = citations.iter().filter(|citation| citation.differs.is_some()).count();
    let count = |status: Status| rows.iter().filter(|row| row.status == status).count();
    println!(
        "\nparity: {} functions and {} tests cited, {deviating} deviating; in the table of {}: \
         {} here, {} partly, {} differ, {} left out, {} missing",
        distinct(false),
        distinct(true),
        rows.len(),
        count(Status::Here),
        count(Status::Partly),
        count(Status::Differs),
        count(Status::LeftOut),
        count(Status::Missing),
    );
}

/// Functions that the table calls missing although code cites them.
fn contradictions(citations: &[Citation], rows: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    for row in rows.iter().filter(|row| row.status == Status::Missing) {
        let cited =
            citations.iter().find(|c| c.key() == (row.package.as_str(), row.function.as_str()));
        found.extend(cited.map(|citation| {
            format!(
                "{MAP} calls {} {} missing, {} cites it",
                row.package, row.function, citation.place
            )
        }));
    }
    found
}

const MAP: &str = "docs/fabric-map.md";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cited_function_cannot_be_missing() {
        let code = "// fabric: gossip/comm/comm_impl.go Probe";
        let citations = citations::of("a/src/lib.rs", code);
        let table = |here: &str, status: &str| {
            let heads = "## `gossip/comm`\n| Fabric | Here | Status | Note |\n|---|---|---|---|\n";
            map::rows(&format!("{heads}| `Probe` | {here} | {status} | |\n")).unwrap()
        };
        assert_eq!(contradictions(&citations, &table("", "missing")).len(), 1);
        assert_eq!(contradictions(&citations, &table("`Comm`", "here")).len(), 0);
    }
}
