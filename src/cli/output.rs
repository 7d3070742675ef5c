//! What commands print: a table for people, JSON for programs.

use std::io::{self, Write as _};

use serde_json::Value;

use super::Failure;
pub(super) use crate::crypto::hexadecimal;
pub(super) use crate::domain::time::moment;

/// Standard output.
pub(super) fn stdout() -> io::StdoutLock<'static> {
    io::stdout().lock()
}

/// Nobody reads what we print.
pub(super) fn broken(error: &io::Error) -> Failure {
    Failure::Runtime(format!("standard output: {error}"))
}

/// Prints one line.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    writeln!(stdout(), "{text}").map_err(|error| broken(&error))
}

/// Prints JSON.
pub(super) fn json(value: &Value) -> Result<(), Failure> {
    line(&format!("{value:#}"))
}

/// Prints rows under their headings, in columns.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let print = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        line(padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    print(headings)?;
    rows.iter().try_for_each(|row| print(row.each_ref().map(String::as_str)))
}

/// The bytes of hexadecimal digits.
pub(super) fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let pair = |pair: &[u8]| if let [high, low] = pair { Some(high << 4 | low) } else { None };
    digits.chunks(2).map(pair).collect()
}
