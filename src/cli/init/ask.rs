//! Questions on the terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use secrecy::SecretString;

use crate::cli::{Failure, output};

/// Whether somebody is there to answer.
pub(super) fn somebody_is_there() -> bool {
    io::stdin().is_terminal()
}

/// Asks until the answer can be read; an empty one is the default where there is one.
pub(super) fn ask<T>(
    question: &str,
    default: Option<&str>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Failure> {
    let shown = default.map(|default| format!(" [{default}]")).unwrap_or_default();
    loop {
        prompt(&format!("{question}{shown}: "))?;
        let answer = line()?;
        let answer = match (answer.trim(), default) {
            ("", Some(default)) => default.to_owned(),
            (answer, _) => answer.to_owned(),
        };
        match read(&answer) {
            Ok(value) => return Ok(value),
            Err(why) => output::line(&format!("  {why}"))?,
        }
    }
}

/// Asks for what must not be seen.
pub(super) fn ask_unseen(question: &str) -> Result<SecretString, Failure> {
    loop {
        prompt(&format!("{question} (not shown): "))?;
        let answer = {
            let _unseen = Unseen::begin();
            line()?
        };
        output::line("")?;
        if !answer.trim().is_empty() {
            return Ok(answer.trim().into());
        }
    }
}

fn prompt(text: &str) -> Result<(), Failure> {
    let mut out = output::stdout();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(|error| output::broken(&error))
}

fn line() -> Result<String, Failure> {
    let mut text = String::new();
    match io::stdin().lock().read_line(&mut text) {
        Ok(0) => Err(Failure::Usage("there was no answer; nothing was written".to_owned())),
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::Runtime(format!("standard input: {error}"))),
    }
}

/// The terminal shows nothing of what is typed, until this is dropped. `stty` does it (package coreutils): the call of
/// the C library would be unsafe code.
struct Unseen;

impl Unseen {
    fn begin() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        stty("echo");
    }
}

fn stty(flag: &str) {
    let _ = Command::new("stty").arg(flag).stdin(Stdio::inherit()).status();
}
