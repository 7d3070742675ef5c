//! `vestibule completions` and `vestibule man`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use super::output::{self, broken};
use super::{Cli, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Write a page for each command into this directory, which is made when it is not there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vestibule", &mut text);
    print(&text)
}

pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    match &args.out {
        Some(directory) => pages(directory),
        None => page(),
    }
}

fn page() -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(|error| broken(&error))?;
    print(&text)
}

/// `vestibule.1`, and a page for each command and each command below it: `vestibule-user-add.1`.
fn pages(directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .map_err(|error| {
            Failure::Runtime(format!("cannot write the manual pages to {}: {error}", directory.display()))
        })
}

fn print(text: &[u8]) -> Result<(), Failure> {
    output::stdout().write_all(text).map_err(|error| broken(&error))
}
