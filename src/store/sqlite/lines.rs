//! What is known of lines, as transactions.

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
            kind: kind.and_then(|kind| LineKind::from_stored(&kind)).zip(moment(row, "kind_at")?),
            swapped: swapped.zip(moment(row, "swapped_at")?),
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
        line.kind.map(|(kind, _)| kind.as_str()),
        line.kind.map(|(_, at)| at.unix()),
        line.swapped.map(|(swapped, _)| swapped),
        line.swapped.map(|(_, at)| at.unix()),
    ])?;
    Ok(())
}
