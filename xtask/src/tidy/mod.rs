//! `cargo xtask tidy`: lists what stands out, fails on what is plainly missing.
//!
//! Long files, long functions and long parameter lists are listed so that someone looks at them; a
//! good reason is a good answer. A file without module docs and a broken link are faults.

mod links;
mod shape;

use anyhow::{Result, ensure};

use crate::{shell, source};

/// Lists what stands out; an error if a file lacks its docs or a link leads nowhere.
pub(crate) fn run() -> Result<()> {
    let root = shell::root();
    let sources = source::read_all(&root)?;
    let mut remarks: Vec<String> = sources.iter().flat_map(shape::remarks).collect();
    remarks.sort();
    for remark in &remarks {
        println!("stands out: {remark}");
    }
    let mut faults: Vec<String> = sources
        .iter()
        .filter(|source| !shape::has_docs(source))
        .map(|source| format!("{} does not begin with module docs (`//!`)", source.path))
        .collect();
    faults.extend(links::broken(&root)?);
    for fault in &faults {
        println!("fault: {fault}");
    }
    ensure!(faults.is_empty(), "{} files lack docs or links lead nowhere", faults.len());
    println!("tidy: {} files, {} things stand out, no faults", sources.len(), remarks.len());
    Ok(())
}
