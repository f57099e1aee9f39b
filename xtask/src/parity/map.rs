//! The table in `docs/fabric-map.md`.

use anyhow::{Result, bail, ensure};

/// Where a function of Fabric stands with us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Ours does the same.
    Here,
    /// Ours does some of it yet.
    Partly,
    /// Ours reaches the same by other means; the note says why.
    Differs,
    /// On purpose not ours; the note says why.
    LeftOut,
    /// Not written yet.
    Missing,
}

/// One function of Fabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Fabric's package: the heading above the table.
    pub(crate) package: String,
    /// The function or type.
    pub(crate) function: String,
    /// Where it stands.
    pub(crate) status: Status,
    /// The reason, where one is due.
    pub(crate) note: String,
}

/// The rows of every table (`Fabric | Here | Status | Note`) below a heading with a package in backquotes.
pub(crate) fn rows(text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut package = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('#') {
            package = line.split('`').nth(1).unwrap_or_default().to_owned();
        }
        if let Some(cells) = cells(line).filter(|_| !package.is_empty()) {
            rows.extend(row(&package, &cells, number)?);
        }
    }
    Ok(rows)
}

/// The cells of a table's row; none for other lines, for headings and rulers.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
    let first = cells.first()?;
    (*first != "Fabric" && !first.starts_with("--")).then_some(cells)
}

/// One row per name in the first cell.
fn row(package: &str, cells: &[&str], number: usize) -> Result<Vec<Row>> {
    let [names, here, status, note] = cells else {
        bail!("line {number} of the map has {} cells instead of four", cells.len())
    };
    let status = match *status {
        "here" => Status::Here,
        "partly" => Status::Partly,
        "differs" => Status::Differs,
        "left out" => Status::LeftOut,
        "missing" => Status::Missing,
        other => bail!("line {number} of the map has the unknown status `{other}`"),
    };
    let present = matches!(status, Status::Here | Status::Partly | Status::Differs);
    ensure!(
        present != here.is_empty(),
        "line {number} of the map: a place is due exactly if something is here"
    );
    let reasoned =
        !matches!(status, Status::Partly | Status::Differs | Status::LeftOut) || !note.is_empty();
    ensure!(reasoned, "line {number} of the map needs a reason");
    let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
    ensure!(!names.is_empty(), "line {number} of the map names nothing in backquotes");
    let row = |name: &&str| Row {
        package: package.to_owned(),
        function: name.split('(').next().unwrap_or(name).to_owned(),
        status,
        note: (*note).to_owned(),
    };
    Ok(names.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Vec<Row>> {
        rows(&format!(
            "## `gossip/comm`: the transport\n| Fabric | Here | Status | Note |\n|---|---|---|---|\n{line}\n"
        ))
    }

    #[test]
    fn a_row_may_hold_several_functions() {
        let found = parse("| `Send(msg)`, `Stop` | `Comm` | here | |").unwrap();
        let names: Vec<_> = found.iter().map(|row| row.function.as_str()).collect();
        assert_eq!(names, ["Send", "Stop"]);
        assert_eq!(found[0].package, "gossip/comm");
    }

    #[test]
    fn a_row_must_be_complete() {
        assert!(parse("| `Send` | | missing | |").is_ok());
        assert!(parse("| `Send` | `Comm` | missing | |").is_err());
        assert!(parse("| `Send` | | here | |").is_err());
        assert!(parse("| `Send` | `Comm` | differs | |").is_err());
        assert!(parse("| `Send` | | left out | |").is_err());
        assert!(parse("| `Send` | `Comm` | perhaps | x |").is_err());
        assert!(parse("| Send | `Comm` | here | |").is_err());
        assert!(parse("| `Send` | `Comm` | here |").is_err());
    }
}
