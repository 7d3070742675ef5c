//! What is known of lines, as transactions.

use std::time::Duration;

use super::sql::{Row, Transaction, values};
use crate::domain::line::{Line, LineKind};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

pub(super) fn find(t: &mut dyn Transaction, number: &str) -> Result<Line, StoreError> {
    let read = |row: &dyn Row| {
        let kind: Option<String> = row.get("kind")?;
        let swapped: Option<bool> = row.get("swapped")?;
        let (kind_at, swapped_at): (Option<Timestamp>, Option<Timestamp>) =
            (row.get("kind_at")?, row.get("swapped_at")?);
        Ok(Line {
            kind: kind_at.map(|at| (kind.and_then(|kind| LineKind::from_stored(&kind)), at)),
            swapped: swapped_at.map(|at| (swapped, at)),
        })
    };
    Ok(t.one("SELECT * FROM line WHERE number = ?", values![number], read)?.unwrap_or_default())
}

pub(super) fn remember(t: &mut dyn Transaction, number: &str, line: &Line) -> Result<(), StoreError> {
    let statement = "INSERT INTO line (number, kind, kind_at, swapped, swapped_at) VALUES (?, ?, ?, ?, ?) \
                     ON CONFLICT (number) DO UPDATE SET kind = excluded.kind, kind_at = excluded.kind_at, \
                     swapped = excluded.swapped, swapped_at = excluded.swapped_at";
    let values = values![
        number,
        line.kind().map(LineKind::as_str),
        line.kind.map(|(_, at)| at),
        line.was_swapped(),
        line.swapped.map(|(_, at)| at),
    ];
    t.execute(statement, values)?;
    Ok(())
}

/// Forgets what was learned long ago: it is asked again, whatever the settings say.
pub(super) fn purge(t: &mut dyn Transaction, now: Timestamp) -> Result<usize, StoreError> {
    let statement = "DELETE FROM line WHERE number IN (SELECT number FROM line WHERE \
                     coalesce(kind_at, 0) < ?1 AND coalesce(swapped_at, 0) < ?1 LIMIT 1000)";
    t.execute(statement, values![now - LINE_LASTS])
}

/// A quarter of a year.
const LINE_LASTS: Duration = Duration::from_secs(90 * 86_400);
