//! What is known of lines, as transactions.

use std::time::Duration;

use rusqlite::{Transaction, params};

use super::rows::one;
use crate::domain::line::{Line, LineKind};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

pub(super) fn find(t: &Transaction<'_>, number: &str) -> Result<Line, StoreError> {
    let moment = |row: &rusqlite::Row<'_>, column| -> Result<Option<Timestamp>, StoreError> {
        Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_unix))
    };
    let read = |row: &rusqlite::Row<'_>| {
        let kind: Option<String> = row.get("kind")?;
        let swapped: Option<bool> = row.get("swapped")?;
        Ok(Line {
            kind: moment(row, "kind_at")?.map(|at| (kind.and_then(|kind| LineKind::from_stored(&kind)), at)),
            swapped: moment(row, "swapped_at")?.map(|at| (swapped, at)),
        })
    };
    Ok(one(&mut t.prepare_cached("SELECT * FROM line WHERE number = ?")?, [number], read)?
        .unwrap_or_default())
}

pub(super) fn remember(t: &Transaction<'_>, number: &str, line: &Line) -> Result<(), StoreError> {
    let statement =
        "INSERT OR REPLACE INTO line (number, kind, kind_at, swapped, swapped_at) VALUES (?, ?, ?, ?, ?)";
    t.prepare_cached(statement)?.execute(params![
        number,
        line.kind().map(LineKind::as_str),
        line.kind.map(|(_, at)| at.unix()),
        line.was_swapped(),
        line.swapped.map(|(_, at)| at.unix()),
    ])?;
    Ok(())
}

/// Forgets what was learned long ago: it is asked again, whatever the settings say.
pub(super) fn purge(t: &Transaction<'_>, now: Timestamp) -> Result<usize, StoreError> {
    let statement = "DELETE FROM line WHERE number IN (SELECT number FROM line WHERE \
                     max(coalesce(kind_at, 0), coalesce(swapped_at, 0)) < ? LIMIT 1000)";
    Ok(t.execute(statement, [(now - LINE_LASTS).unix()])?)
}

/// A quarter of a year.
const LINE_LASTS: Duration = Duration::from_secs(90 * 86_400);
