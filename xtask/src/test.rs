//! `cargo xtask test`: every test of the workspace.

use anyhow::Result;

use crate::shell::{self, cargo, run};

/// What to test.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Args {
    /// Test this crate alone.
    #[arg(long, short, value_name = "CRATE")]
    package: Option<String>,
    /// Run the tests whose names contain this.
    filter: Option<String>,
}

/// Runs doctests, then all other tests, so that the runner's summary is the last line.
pub(crate) fn run_all(args: &Args) -> Result<()> {
    let package = args.package.as_ref().map(|name| ["--package", name.as_str()]);
    let what = package.unwrap_or(["--workspace", "--all-features"]);
    let filter = args.filter.as_deref();
    if filter.is_none() && args.package.as_deref().is_none_or(has_library) {
        run(cargo(["test", "--doc", "--quiet"]).args(what))?;
    }
    if has_nextest() {
        run(cargo(["nextest", "run", "--no-tests", "pass"]).args(what).args(filter))
    } else {
        run(cargo(["test", "--tests", "--examples"]).args(what).args(filter))
    }
}

/// `cargo test --doc` refuses a package without library.
fn has_library(package: &str) -> bool {
    shell::root().join(package).join("src/lib.rs").exists()
}

fn has_nextest() -> bool {
    cargo(["nextest", "--version"]).output().is_ok_and(|output| output.status.success())
}
