//! `vestibule completions` and `vestibule man`.

use std::io::Write as _;

use clap::CommandFactory as _;

use super::output::{self, broken};
use super::{Cli, Failure};

pub(super) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vestibule", &mut text);
    print(&text)
}

pub(super) fn man() -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(|error| broken(&error))?;
    print(&text)
}

fn print(text: &[u8]) -> Result<(), Failure> {
    output::stdout().write_all(text).map_err(|error| broken(&error))
}
