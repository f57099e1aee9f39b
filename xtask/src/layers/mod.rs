//! `cargo xtask layers`: the rules of the architecture, checked.
//!
//! [`facts`] reads the workspace, [`rules`] judges what was read; the rules are plain functions over
//! data, so that their tests can show them a broken workspace.
//!
//! `xtask` is exempt from the rules about what a crate may name, because a tool that simulates and
//! measures everything has to link everything; in exchange all of that sits behind its feature `lab`.

mod facts;
mod paths;
mod rules;
#[cfg(test)]
mod tests;

use anyhow::{Result, ensure};

/// Checks every rule and names each violation.
pub(crate) fn run() -> Result<()> {
    let workspace = facts::read()?;
    let violations = rules::judge(&workspace);
    for violation in &violations {
        println!("{violation}");
    }
    ensure!(violations.is_empty(), "{} broken rules of the architecture", violations.len());
    println!(
        "layers: {} crates, {} files, every rule holds",
        workspace.members.len(),
        workspace.sources.len()
    );
    Ok(())
}
